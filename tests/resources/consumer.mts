// Compiled, never run: each helper takes what its client's own types describe.
import amqp from 'amqplib';
import { FlowProducer, Queue, QueueEvents, Worker } from 'bullmq';
import { Cron } from 'croner';
import { Cluster, Redis } from 'ioredis';
import odm from 'mongoose';
import mysql from 'mysql2';
import mysqlPromise from 'mysql2/promise';
import cron from 'node-cron';
import pg from 'pg';
import { createClient, createClientPool, createCluster } from 'redis';
import type { Duck } from '../../bindings/node/index.mjs';
import * as resources from '../../bindings/node/resources.js';

export async function use(duck: Duck): Promise<void> {
  duck.use(resources.pg(new pg.Pool()), { name: 'orders', order: 1, timeout: '2s' }).use(resources.pg(new pg.Client()));
  duck.use(resources.mysql2(mysql.createPool({}))).use(resources.mysql2(mysql.createConnection({})));
  duck.use(resources.mysql2(mysqlPromise.createPool({}))).use(resources.mysql2(await mysqlPromise.createConnection({})));
  duck.use(resources.mongoose(odm)).use(resources.mongoose(odm.createConnection()));
  duck.use(resources.ioredis(new Redis())).use(resources.ioredis(new Cluster([])));
  duck.use(resources.redis(createClient())).use(resources.redis(createClientPool())).use(resources.redis(createCluster({ rootNodes: [] })));
  duck.use(resources.bullmq(new Worker('mails'))).use(resources.bullmq(new Queue('mails')));
  duck.use(resources.bullmq(new QueueEvents('mails'))).use(resources.bullmq(new FlowProducer()));
  duck.use(resources.amqplib(await amqp.connect('amqp://localhost')));
  duck.use(resources.nodeCron(cron.schedule('* * * * *', () => {}))).use(resources.croner(new Cron('* * * * *')));
  duck.use(resources.timer(setInterval(() => {}, 1000)));
  duck.use(resources.disposable({ [Symbol.dispose]() {} })).use(resources.disposable({ async [Symbol.asyncDispose]() {} }));
  duck.use({ name: 'cache', drain: () => {}, close: async () => {}, flush() {} });
  // @ts-expect-error a pool is no resource
  duck.use(new pg.Pool());
  // @ts-expect-error of another client
  resources.ioredis(new pg.Pool());
}
