import { createHttpTerminator } from 'http-terminator';
import { face } from './face.mjs';

export const lameduck = face((server, deadline) => {
  const terminator = createHttpTerminator({ server, gracefulTerminationTimeout: deadline });
  return () => terminator.terminate();
});
