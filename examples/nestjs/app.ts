// The application, the same for both servers, over Express or (ADAPTER=fastify) over Fastify.
import 'reflect-metadata';
import { appendFile, type FileHandle, open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Body, Controller, Get, HttpCode, Injectable, Module, type OnModuleDestroy, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';

const PATH = process.env.JOURNAL ?? 'journal.log';

/** What requests need to the end: stands for a pool of connections to a database. */
@Injectable()
export class Journal implements OnModuleDestroy {
  private file?: FileHandle;

  async onModuleInit() {
    this.file = await open(PATH, 'a');
  }

  async write(line: string) {
    await this.file?.appendFile(`${line}\n`);
  }

  async onModuleDestroy() {
    await this.file?.close();
  }

  async onApplicationShutdown(signal?: string) {
    await appendFile(PATH, `shut down: ${signal}\n`);
  }
}

@Controller()
export class AppController {
  constructor(private readonly journal: Journal) {}

  @Get()
  hello() {
    return 'hello\n';
  }

  @Get('readyz')
  ready() {
    return 'ready\n';
  }

  /** What was posted comes back, once it is written down. */
  @Post('echo')
  @HttpCode(200)
  async echo(@Body() body: unknown) {
    await this.journal.write(JSON.stringify(body));
    return body;
  }

  @Get('slow')
  async slow() {
    await sleep(500);
    await this.journal.write('slow');
    return 'that took a while\n';
  }
}

@Module({ controllers: [AppController], providers: [Journal] })
export class AppModule {}

export function create() {
  const adapter = process.env.ADAPTER === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
  return NestFactory.create(AppModule, adapter, { logger: ['error', 'warn'] });
}
