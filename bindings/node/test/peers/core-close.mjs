// What most applications do by hand: server.close() and wait.
import { face } from './face.mjs';

export const lameduck = face((server) => () => new Promise((resolve) => server.close(resolve)));
