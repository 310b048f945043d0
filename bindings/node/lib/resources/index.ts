// One line for each client: what it needs when the server stops. Nothing here depends on a client; what is given is known by its shape.

export { amqplib } from './amqplib.js';
export { bullmq } from './bullmq.js';
export { disposable } from './disposable.js';
export { ioredis } from './ioredis.js';
export { mongoose } from './mongoose.js';
export { mysql2 } from './mysql2.js';
export { pg } from './pg.js';
export { redis } from './redis.js';
export type { Resource } from './resource.js';
export { croner, nodeCron, timer } from './timers.js';
