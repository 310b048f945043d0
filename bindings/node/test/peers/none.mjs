// No handler at all: the signal kills the process.
import { face } from './face.mjs';

const attach = face(() => async () => {});

export const lameduck = (server, options) => attach(server, { ...options, signals: [] });
