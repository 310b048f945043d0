import stoppable from 'stoppable';
import { face } from './face.mjs';

export const lameduck = face((server, deadline) => {
  stoppable(server, deadline);
  return () => new Promise((resolve) => server.stop(resolve));
});
