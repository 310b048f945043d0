import { has, type Resource, wrong } from './resource.js';

/** The connection that `connect()` of amqplib resolved with. */
export interface AmqpConnection {
  createChannel(...options: never[]): Promise<unknown>;
  createConfirmChannel(...options: never[]): Promise<unknown>;
  close(): Promise<unknown>;
  on(event: string, listener: () => void): unknown;
}

interface Message {
  fields: { deliveryTag: number };
}

type OnMessage = (message: Message | null) => unknown;

interface AmqpChannel {
  consume(queue: string, onMessage: OnMessage, options?: { noAck?: boolean }): Promise<{ consumerTag: string }>;
  cancel(consumerTag: string): Promise<unknown>;
  ack(message: Message, allUpTo?: boolean): void;
  nack(message: Message, allUpTo?: boolean, requeue?: boolean): void;
  reject(message: Message, requeue?: boolean): void;
  ackAll(): void;
  nackAll(requeue?: boolean): void;
  close(): Promise<unknown>;
  /** Of a confirm channel. */
  waitForConfirms?(): Promise<unknown>;
  on(event: string, listener: () => void): unknown;
}

/**
 * Cancels the consumers of an amqplib connection when draining begins; the drain lasts until the messages that they have are acknowledged.
 * After the last request what was published is confirmed, where channels confirm, and channels and connection are closed.
 *
 * Take the connection as it comes from `connect()`, before it has channels: what is delivered on a channel is counted from its first
 * consumer on.
 */
export function amqplib(connection: AmqpConnection): Resource {
  if (!has(connection, 'createChannel', 'createConfirmChannel', 'close')) {
    throw wrong('amqplib', 'the connection that connect() of amqplib resolved with', connection);
  }
  const inner = (connection as { connection?: { channels?: unknown[] } }).connection;
  // The first is the connection's own.
  if (inner?.channels?.slice(1).some(Boolean)) {
    throw new TypeError('lameduck: amqplib() comes before the first channel: this connection has one, whose messages nobody counted');
  }
  const channels = new Set<Channel>();
  let open = true;
  let draining = false;
  connection.on('close', () => (open = false));
  const track = (create: (...options: never[]) => Promise<unknown>) => async (...options: never[]) => {
    const made = (await create.apply(connection, options)) as AmqpChannel;
    const channel = new Channel(made, () => draining);
    channels.add(channel);
    made.on('close', () => channels.delete(channel));
    return made;
  };
  connection.createChannel = track(connection.createChannel);
  connection.createConfirmChannel = track(connection.createConfirmChannel);
  return {
    name: 'amqplib',
    drain: () => {
      draining = true;
      return Promise.all([...channels].map((channel) => channel.drain()));
    },
    close: async () => {
      await Promise.all([...channels].map((channel) => channel.close()));
      if (open) await connection.close();
    },
  };
}

/** A channel, its consumers, and the messages that they have not acknowledged. */
class Channel {
  readonly #channel: AmqpChannel;
  readonly #consumers = new Set<string>();
  readonly #unacknowledged = new Set<number>();
  #open = true;
  #idle: () => void = () => {};

  constructor(channel: AmqpChannel, draining: () => boolean) {
    this.#channel = channel;
    const { consume, cancel, ack, nack, reject, ackAll, nackAll } = channel;
    channel.on('close', () => {
      this.#open = false;
      this.#settle(Infinity, true);
    });
    channel.consume = async (queue, onMessage, options) => {
      if (draining()) throw new Error(`lameduck: the process is draining and consumes nothing from '${queue}' any more`);
      const counted: OnMessage = (message) => {
        if (message && !options?.noAck) this.#unacknowledged.add(message.fields.deliveryTag);
        return onMessage(message);
      };
      const consumer = await consume.call(channel, queue, counted, options);
      this.#consumers.add(consumer.consumerTag);
      // It was asked for before draining began, and came too late to be cancelled.
      if (draining()) await this.#cancel(consumer.consumerTag);
      return consumer;
    };
    channel.cancel = (tag) => {
      this.#consumers.delete(tag);
      return cancel.call(channel, tag);
    };
    channel.ack = (message, allUpTo) => {
      ack.call(channel, message, allUpTo);
      this.#settle(message.fields.deliveryTag, allUpTo);
    };
    channel.nack = (message, allUpTo, requeue) => {
      nack.call(channel, message, allUpTo, requeue);
      this.#settle(message.fields.deliveryTag, allUpTo);
    };
    channel.reject = (message, requeue) => {
      reject.call(channel, message, requeue);
      this.#settle(message.fields.deliveryTag);
    };
    channel.ackAll = () => {
      ackAll.call(channel);
      this.#settle(Infinity, true);
    };
    channel.nackAll = (requeue) => {
      nackAll.call(channel, requeue);
      this.#settle(Infinity, true);
    };
  }

  async drain(): Promise<void> {
    await Promise.all([...this.#consumers].map((tag) => this.#cancel(tag)));
    if (this.#unacknowledged.size > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
  }

  async close(): Promise<void> {
    if (this.#open) await this.#channel.waitForConfirms?.();
    if (this.#open) await this.#channel.close();
  }

  async #cancel(tag: string): Promise<void> {
    try {
      await this.#channel.cancel(tag);
    } catch (error) {
      // With its channel the consumer is gone as well, and the broker gives its messages to others.
      if (this.#open) throw error;
    }
  }

  #settle(tag: number, allUpTo = false): void {
    if (!allUpTo) this.#unacknowledged.delete(tag);
    else for (const one of this.#unacknowledged) if (one <= tag) this.#unacknowledged.delete(one);
    if (this.#unacknowledged.size === 0) this.#idle();
  }
}
