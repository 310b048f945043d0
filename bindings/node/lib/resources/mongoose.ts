import { has, type Resource, wrong } from './resource.js';

/** A connection of mongoose. */
export interface MongooseConnection {
  readonly readyState: number;
  close(): Promise<unknown>;
}

/** mongoose itself: its default connection, and those of `createConnection()`. */
export interface Mongoose {
  readonly connection: unknown;
  disconnect(): Promise<unknown>;
}

/** Closes a connection of mongoose, or all of them. */
export function mongoose(client: MongooseConnection | Mongoose): Resource {
  const name = 'mongoose';
  if (has(client, 'disconnect') && 'connection' in client) return { name, close: () => client.disconnect() };
  if (has(client, 'close') && 'readyState' in client) return { name, close: () => client.close() };
  throw wrong('mongoose', 'mongoose or one of its connections', client);
}
