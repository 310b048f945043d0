import { EventEmitter } from 'node:events';
import { type IncomingMessage, Server as HttpServer, type ServerResponse } from 'node:http';
import type { Http2ServerResponse, ServerHttp2Stream } from 'node:http2';
import { Server as HttpsServer } from 'node:https';
import { Server as NetServer } from 'node:net';
import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';

import { type ForcedMessage, publish } from './channels.js';
import { startClock } from './clock.js';
import { type Connection, Connections, type Exchange } from './connections.js';
import { type Duration, milliseconds, shown } from './duration.js';
import { endStream, endUpgraded, force, halfClose, RETRY_MS } from './ending.js';
import { openHandles } from './handles.js';
import { Health } from './health.js';
import { type Hook, type HookOptions, Hooks, hookRunning, type UseOptions } from './hooks.js';
import { type JobOptions, Jobs, type ServerRequest } from './jobs.js';
import { type Kind, Kinds } from './kinds.js';
import { Listeners } from './listeners.js';
import { Log } from './log.js';
import { type Family, families, prometheus } from './metrics.js';
import { checkNamed } from './named.js';
import { type Driver, type Effect, native } from './native.js';
import type { Checked } from './options.js';
import { attached, enter, leave } from './process.js';
import type { Blocker, Blockers, Phase, Report } from './report.js';
import type { Resource } from './resources/resource.js';
import { speaksHttp2 } from './sessions.js';
import { Signals } from './signals.js';
import { Traffic } from './traffic.js';

/** How often the event loop shows that it is alive while draining. */
const HEARTBEAT_MS = 100;
const NAMED_BLOCKERS = 10;
/** A process that shall end by itself and has not by then is told of what keeps it. */
const STAYS_AFTER_MS = 1_000;

export interface EventStreamOptions {
  /** When its client shall come back: between half and one and a half times this. Default 1 s; `false` says nothing. */
  retry?: Duration | false;
  /** It ends by itself, as an answer does: waited for until the drain deadline. Default `false`. */
  finite?: boolean;
}

export interface ShutdownOptions {
  /** What the report says beside the cause. */
  cause?: string;
  /** Another grace than the policy's, from the request to stop on. */
  grace?: Duration;
}

/** One shutdown: its machine, the servers it stops, and what the program asked of it. */
export class Duck extends EventEmitter<{ phase: [Phase]; report: [Report] }> {
  readonly #driver: Driver;
  readonly #log: Log;
  readonly #exit: boolean;
  readonly #webSocketCode: number;
  readonly #kinds: Kinds;
  readonly #connections: Connections;
  readonly #listeners: Listeners;
  readonly #health: Health;
  readonly #traffic: Traffic;
  readonly #signals: Signals;
  readonly #hooks: Hooks;
  readonly #jobs: Jobs;
  /** The abort signals that were asked for. */
  readonly #controllers = new WeakMap<object, AbortController>();
  readonly #drain = new AbortController();
  #nextId = 1;
  #phase: Phase = 'serving';
  #wanted = true;
  #aborted = false;
  #stoppedBy: string | undefined;
  #shutdown: Deferred | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pumping = false;
  #pumpAgain = false;
  /** Whether open handles were named at the drain deadline. */
  #handlesNamed = false;

  /** @internal Use `lameduck()`. */
  static of(server: NetServer, options: Checked): Duck {
    checkServer(server);
    return new Duck(options).add(server);
  }

  private constructor(options: Checked) {
    super();
    this.#driver = newDriver(options);
    this.#log = new Log(options.logger);
    this.#exit = options.exit;
    this.#webSocketCode = options.webSocketCode;
    this.#kinds = new Kinds(this.#driver);
    this.#connections = new Connections(this.#driver);
    this.#listeners = new Listeners(this.#log);
    const condition = () => ({ phase: this.#phase, ready: this.ready });
    this.#health = new Health(options.health, condition, this.#log);
    this.#traffic = new Traffic({
      driver: this.#driver,
      connections: this.#connections,
      health: this.#health,
      kinds: this.#kinds,
      pump: () => this.#pump(),
      listening: (server) => this.#listening(server),
      unlistening: (server) => this.#unlistening(server),
      forbid: (server) => this.#listeners.forbid(server),
    });
    const isStopping = () => this.#shutdown !== undefined;
    const phase = () => this.#phase;
    this.#hooks = new Hooks({
      duck: this,
      driver: this.#driver,
      log: this.#log,
      get phase() {
        return phase();
      },
      newId: () => this.#nextId++,
      pump: () => this.#pump(),
    });
    this.#jobs = new Jobs({
      driver: this.#driver,
      drain: this.drainSignal,
      get phase() {
        return phase();
      },
      newId: () => this.#nextId++,
      pump: () => this.#pump(),
      handedOut: (request) => this.#traffic.handedOut(request),
      anyAdopted: () => this.#traffic.anyAdopted(),
    });
    this.#signals = new Signals(this.#log, {
      stop: (cause, detail) => void this.#stop(cause, detail),
      escalate: () => this.#escalate(),
      get stopping() {
        return isStopping();
      },
    });
    this.#log.info(`policy: ${this.#driver.describePolicy()}`);
    // Signals, the watchdog and whoever supervises the process are the main thread's business.
    if (isMainThread) this.#lookAround();
    const numbers = this.#signals.listen(options.signals, interactive());
    if (options.signals.length > 0) this.#signals.listenToParent();
    if (this.#exit) {
      this.#signals.listenForErrors();
      if (isMainThread) this.#watch(numbers);
    }
  }

  /** Where the shutdown stands. */
  get phase(): Phase {
    return this.#phase;
  }

  /** Whether this server is listening and wants new traffic. */
  get ready(): boolean {
    return this.#wanted && this.#listeners.listening;
  }

  /** Fires when draining begins: end streams, stop consuming. */
  get drainSignal(): AbortSignal {
    return this.#drain.signal;
  }

  /**
   * What a worker thread or child process may take that is told to stop now, in milliseconds, so that it is gone before
   * this duck closes what they share; `undefined` when that is unlimited.
   */
  get childGrace(): number | undefined {
    return this.#driver.childGrace() ?? undefined;
  }

  /** The signal that stops it, if one does. @internal */
  get stoppedBy(): string | undefined {
    return this.#stoppedBy;
  }

  /** Watches one more server; it stops together with the others. */
  add(server: NetServer): this {
    checkServer(server);
    if (this.#phase !== 'serving') {
      throw new Error(`lameduck: the process is ${this.#phase} and takes no new server`);
    }
    attached.add(server);
    startClock();
    this.#traffic.attach(server as HttpServer);
    return this;
  }

  /** Runs `fn` when draining begins: pause consumers, deregister. */
  onDrain(name: string, fn: Hook, options?: HookOptions): this {
    this.#hooks.register('drain', name, fn, options);
    return this;
  }

  /** Runs `fn` after the last request: close pools and clients. */
  onClose(name: string, fn: Hook, options?: HookOptions): this {
    this.#hooks.register('close', name, fn, options);
    return this;
  }

  /** Runs `fn` last of all: flush logs and metrics. */
  onFlush(name: string, fn: Hook, options?: HookOptions): this {
    this.#hooks.register('flush', name, fn, options);
    return this;
  }

  /** Registers what a resource does at each stage: `duck.use(pg(pool))`, with the helpers of `lameduck/resources`. */
  use(resource: Resource, options: UseOptions = {}): this {
    this.#hooks.use(resource, options);
    return this;
  }

  /**
   * Runs background work that shutdown waits for. Its signal fires shortly before the drain deadline, or when draining
   * begins. While draining only jobs that a request begins are taken. Returns what `fn` returns.
   */
  async job<T>(name: string, fn: (signal: AbortSignal) => T | Promise<T>, options: JobOptions = {}): Promise<T> {
    checkNamed('job', name, fn);
    return this.#jobs.run(name, fn, options);
  }

  /** Fires shortly before this request's time is over: roll back. */
  requestSignal(incoming: ServerRequest): AbortSignal {
    const request = keyOf(incoming);
    if (!this.#traffic.find(request)) return AbortSignal.abort(notInFlight());
    const controller = this.#controllers.get(request) ?? new AbortController();
    this.#controllers.set(request, controller);
    if (this.#aborted) controller.abort(deadlineNear());
    return controller.signal;
  }

  /**
   * This request waits for news: a long poll. The signal fires when it shall be answered as if
   * there were none, for instance 204: at its moment in the first half of the window.
   */
  longPoll(incoming: ServerRequest): AbortSignal {
    return this.#mark(keyOf(incoming), 'long_poll', 0);
  }

  /**
   * This response goes on without end, and its client comes back when it ends. The signal fires
   * at its moment in the second half of the window, for last words; then lameduck ends it.
   * Event streams that answer a GET are known without this.
   */
  eventStream(
    response: ServerResponse | Http2ServerResponse | ServerHttp2Stream,
    options: EventStreamOptions = {},
  ): AbortSignal {
    const { retry = RETRY_MS, finite = false, ...others } = options;
    const unknown = Object.keys(others)[0];
    if (unknown !== undefined) {
      throw new TypeError(`lameduck: unknown option '${unknown}' of an event stream; there are retry and finite`);
    }
    if (typeof finite !== 'boolean') {
      throw new TypeError(`lameduck: finite is true or false, not ${shown(finite)}`);
    }
    const key = 'req' in response && !('stream' in response) ? response.req : keyOf(response as ServerHttp2Stream);
    return this.#mark(key, finite ? 'ordinary' : 'stream', retry === false ? 0 : milliseconds('retry', retry, 10));
  }

  /**
   * Stops as a signal would; the report, when all is done. Calling again changes nothing but the deadline, if there is a
   * `grace`: it counts from the first request to stop.
   */
  shutdown(options: ShutdownOptions = {}): Promise<Report> {
    const { cause = 'programmatic', grace }: { cause?: unknown; grace?: unknown } = options ?? {};
    if (typeof cause !== 'string' || cause === '') {
      throw new TypeError(`lameduck: shutdown({ cause }) takes a text, not ${shown(cause)}`);
    }
    const limit = grace === undefined ? undefined : milliseconds('shutdown({ grace })', grace, 0);
    const promise = this.#stop(cause, cause, limit);
    const hook = hookRunning();
    if (hook === undefined) return promise;
    const reentered = Promise.reject<Report>(
      new Error(`lameduck: hook '${hook}' would wait for the end of itself; shutdown is under way already`),
    );
    // A hook that only calls and does not wait has done nothing wrong.
    reentered.catch(() => {});
    return reentered;
  }

  /** What holds shutdown up, or would: counts, and the oldest by name. */
  blockers(): Blockers {
    if (this.#phase !== 'serving') return JSON.parse(this.#driver.blockers(NAMED_BLOCKERS)) as Blockers;
    const now = performance.now();
    const age = (since: number) => Math.round((now - since) * 1_000) / 1_000;
    const oldest: Blocker[] = [];
    let requests = 0;
    let idle = 0;
    for (const connection of this.#connections.all()) {
      const { protocol, peer } = connection;
      const exchanges = connection.inFlight();
      if (exchanges.length === 0) idle += 1;
      requests += exchanges.length;
      for (const exchange of exchanges) {
        const { label, headersSent, since } = exchange;
        const state = headersSent ? 'response begun' : 'unanswered';
        const kind = this.#kinds.of(exchange);
        oldest.push({ what: 'request', protocol, kind, peer, label, state, age_ms: age(since) });
      }
    }
    oldest.push(...this.#jobs.blockers(age));
    oldest.sort((a, b) => b.age_ms - a.age_ms);
    oldest.length = Math.min(oldest.length, NAMED_BLOCKERS);
    return { requests, idle_connections: idle, jobs: this.#jobs.size, hooks: 0, listeners: 0, oldest };
  }

  /** Prometheus text. */
  metrics(): string {
    return prometheus(this.families());
  }

  /** @internal What the metrics are made of, for the clients of other systems. */
  families(): Family[] {
    let connections = 0;
    let inFlight = 0;
    for (const connection of this.#connections.all()) {
      connections += 1;
      inFlight += connection.inFlight().length;
    }
    const counts = { phase: this.#phase, ready: this.ready, connections, inFlight, jobs: this.#jobs.size };
    return families(counts, this.reportSoFar());
  }

  /** @internal The report as it stands. */
  reportSoFar(): Report {
    return JSON.parse(this.#driver.report()) as Report;
  }

  /** Stops when the scope ends: `await using duck = lameduck(server)`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }

  /** Without the watchdog the server still serves, and its operator knows. */
  #watch(signals: number[]): void {
    try {
      this.#driver.watch(signals);
    } catch (error) {
      this.#log.warn(`nothing guards the deadline against a blocked event loop: ${(error as Error).message}`);
    }
  }

  /** Whoever supervises this process, and what it allows, belongs into the first lines of the log. */
  #lookAround(): void {
    const { line, supervised, warnings } = this.#driver.surroundings();
    if (supervised) this.#log.info(line);
    for (const warning of warnings) this.#log.warn(warning);
    const trouble = this.#driver.connectService();
    if (trouble !== null) this.#log.warn(trouble);
  }

  /** systemd hears that the server is ready, stopping, and what it waits for. */
  #tellService(): void {
    const trouble = this.#driver.tellService();
    if (trouble !== null) this.#log.warn(trouble);
  }

  /** Whether the server may listen. */
  #listening(server: NetServer): boolean {
    // `listen()` makes it listen at once, and says so a turn later.
    if (this.#listeners.idOf(server) !== undefined) return true;
    const id = this.#listeners.opened(server);
    if (this.#driver.listenerOpened(id) === null) {
      this.#driver.serves();
      this.#tellService();
      this.#signals.tellParent();
      return true;
    }
    this.#listeners.closed(id);
    this.#listeners.refuse(server);
    return false;
  }

  /** The program closed its server itself. */
  #unlistening(server: NetServer): void {
    const id = this.#listeners.idOf(server);
    if (id === undefined) return;
    this.#listeners.closed(id);
    this.#driver.listenerClosed(id);
    this.#pump();
  }

  #stop(cause: string, detail: string, grace?: number): Promise<Report> {
    const known = native.causes().includes(cause);
    const named = known ? cause : 'programmatic';
    if (this.#shutdown === undefined) {
      this.#shutdown = deferred();
      enter(this);
      this.#driver.explain(detail);
      if (detail in constants.signals) this.#stoppedBy = detail;
      const arrived = this.#driver.signalArrived();
      this.#driver.handOver(named, this.#connections.everAccepted, arrived);
      this.#connections.handedOver();
      this.#driver.arm();
      this.#traffic.handedOver();
    } else {
      this.#driver.shutdown(named, this.#connections.everAccepted);
    }
    if (grace !== undefined) this.#driver.deadlineChanged(grace);
    this.#pump();
    return this.#shutdown.promise;
  }

  #escalate(): void {
    this.#log.warn('SIGINT again: not waiting any longer');
    // The first step only ends the window; whoever insists does not mean that.
    do {
      this.#driver.escalate();
      this.#pump();
    } while (this.#phase === 'draining' && !this.#pumping);
  }

  /** Lets the machine decide, does what it says, and comes back when it wants. */
  #pump(): void {
    if (this.#phase === 'serving' && this.#shutdown === undefined) return;
    if (this.#pumping) {
      this.#pumpAgain = true;
      return;
    }
    this.#pumping = true;
    try {
      do {
        this.#pumpAgain = false;
        const effects = this.#driver.pump();
        for (const { isWarning, text } of this.#driver.takeLines()) this.#log[isWarning ? 'warn' : 'info'](text);
        if (!this.#handlesNamed && this.#driver.missedDrainDeadline()) this.#nameOpenHandles();
        for (const effect of effects) this.#do(effect);
      } while (this.#pumpAgain);
    } finally {
      this.#pumping = false;
    }
    this.#tellService();
    clearTimeout(this.#timer);
    if (this.#phase === 'done') return;
    const wake = Math.min(this.#driver.wakeIn() ?? HEARTBEAT_MS, HEARTBEAT_MS);
    this.#timer = setTimeout(() => {
      this.#traffic.timeOutRequests();
      this.#traffic.reviewUploads();
      this.#traffic.sessions.flush();
      this.#pump();
    }, Math.ceil(wake));
  }

  #do(effect: Effect): void {
    const connection =
      effect.connection === undefined ? undefined : this.#connections.of(effect.connection);
    switch (effect.type) {
      case 'phase_changed':
        this.#enter(effect.phase as Phase);
        break;
      case 'set_readiness':
        this.#wanted = effect.ready!;
        break;
      case 'announce_close':
        if (connection?.session) this.#traffic.sessions.announce(connection);
        else if (connection) connection.told = true;
        break;
      case 'fence_listener':
        this.#listeners.fence(effect.listener!);
        break;
      case 'close_listener':
        this.#closeListener(effect.listener!);
        break;
      case 'close_idle':
        if (!connection) break;
        if (effect.look && this.#traffic.busy(connection)) {
          if (this.#driver.connectionBusy(connection.handle) === null) break;
        }
        halfClose(connection);
        break;
      case 'notify_long_lived':
        // Whoever serves streams and sockets listens to `drainSignal`, which fired with the phase.
        this.#answerNow(connection?.exchanges.find(({ id }) => id === effect.request));
        break;
      case 'close_long_lived': {
        if (!connection) break;
        const stream = connection.exchanges.find(({ id }) => id === effect.request);
        if (effect.request === undefined) endUpgraded(connection, this.#webSocketCode);
        else if (stream) endStream(stream, this.#kinds.markOf(stream.key));
        break;
      }
      case 'refuse_request': {
        const exchange = connection?.exchanges.find(({ id }) => id === effect.request);
        if (exchange) this.#traffic.refuse(exchange);
        break;
      }
      case 'refuse_streams':
        if (connection) this.#traffic.sessions.refuseStreams(connection);
        break;
      case 'force_connection':
        if (!connection) break;
        publish('forced', () => this.#forcing(connection));
        force(connection);
        break;
      case 'abort_requests':
        this.#abortRequests();
        break;
      case 'cancel_job':
        this.#jobs.cancel(effect.job!, deadlineNear());
        break;
      case 'run_hook':
        void this.#hooks.run(effect.hook!);
        break;
      case 'abandon_hook':
        this.#hooks.abandon(effect.hook!);
        break;
      case 'exit':
        this.#finish(effect.code!);
        break;
      default:
        throw new Error(`lameduck: the machine asked for '${effect.type}', which this version does not know`);
    }
  }

  /** A long poll is over. Not at once: whoever marks one only now has to listen first. */
  #answerNow(exchange: Exchange | undefined): void {
    const mark = exchange && this.#kinds.markOf(exchange.key);
    if (mark?.kind !== 'long_poll') return;
    process.nextTick(() => mark.controller.abort(new Error('the server is draining; answer this long poll now')));
  }

  /** What kind of request it is, from whoever knows; a signal that fires when it is to end. */
  #mark(key: IncomingMessage | ServerHttp2Stream, kind: Kind, retry: number): AbortSignal {
    const exchange = this.#traffic.find(key);
    if (!exchange) return AbortSignal.abort(notInFlight());
    const controller = this.#kinds.markOf(key)?.controller ?? new AbortController();
    this.#kinds.mark(key, { kind, retry, controller });
    if (this.#phase !== 'serving') {
      this.#kinds.review(exchange);
      this.#pump();
    }
    return controller.signal;
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    if (phase === 'draining') this.#drain.abort(new Error('the server is draining'));
    publish('phase', () => ({ duck: this, phase }));
    this.#tell('phase', phase);
  }

  #forcing({ protocol, peer, exchanges }: Connection): ForcedMessage {
    const requests = exchanges.map((exchange) => {
      const { key: request, label, headersSent: answered } = exchange;
      return { request, label, kind: this.#kinds.of(exchange), answered };
    });
    return { duck: this, protocol, peer, requests };
  }

  /** A listener that throws must not end the shutdown that it is told of. */
  #tell(...event: ['phase', Phase] | ['report', Report]): void {
    try {
      if (event[0] === 'phase') this.emit(...event);
      else this.emit(...event);
    } catch (error) {
      this.#log.warn(`a listener of '${event[0]}' threw: ${String(error)}`);
    }
  }

  /** Before anything is cut: a stuck request often waits for something that is open elsewhere. */
  #nameOpenHandles(): void {
    this.#handlesNamed = true;
    const open = openHandles();
    if (open.length === 0) return;
    this.#driver.keepOpenHandles(open);
    this.#log.warn(`also open at the drain deadline: ${open.join('; ')}`);
  }

  #closeListener(id: number): void {
    this.#listeners.close(id, () => {
      this.#driver.listenerClosed(id);
      this.#pump();
    });
  }

  #abortRequests(): void {
    this.#aborted = true;
    for (const { exchanges } of this.#connections.all()) {
      for (const { key } of exchanges) this.#controllers.get(key)?.abort(deadlineNear());
    }
  }

  #finish(code: number): void {
    const text = this.#driver.report();
    const report = JSON.parse(text) as Report;
    const trouble = this.#driver.writeReport();
    if (trouble !== null) this.#log.warn(trouble);
    this.#log.info(`report ${text}`);
    this.#signals.remove();
    this.#shutdown?.resolve(report);
    publish('report', () => ({ duck: this, report }));
    this.#tell('report', report);
    if (!this.#exit) {
      this.#driver.unwatch();
      // A process that goes by itself is gone before this.
      setTimeout(() => {
        this.#log.info(`done, but the process stays: ${openHandles().join('; ') || 'something keeps it that Node does not name'}`);
      }, STAYS_AFTER_MS).unref();
    }
    leave(this, code, this.#exit);
  }
}

interface Deferred {
  promise: Promise<Report>;
  resolve: (report: Report) => void;
}

function deferred(): Deferred {
  let resolve!: (report: Report) => void;
  const promise = new Promise<Report>((done) => (resolve = done));
  return { promise, resolve };
}

function notInFlight(): Error {
  return new Error('this request is not in flight');
}

/** What a request is known by. */
function keyOf(incoming: ServerRequest | Http2ServerResponse): IncomingMessage | ServerHttp2Stream {
  return 'stream' in incoming ? incoming.stream : incoming;
}

function deadlineNear(): Error {
  return new Error('the server is shutting down and the drain deadline is near');
}

/** Somebody is developing: at a terminal, or under `node --watch`. */
function interactive(): boolean {
  const watched = process.env.WATCH_REPORT_DEPENDENCIES !== undefined;
  return development() && (watched || native.stdinIsTerminal());
}

function development(): boolean {
  return process.env.NODE_ENV !== 'production';
}

function newDriver({ settings }: Checked): Driver {
  const variables = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => name.startsWith('LAMEDUCK_')),
  ) as Record<string, string>;
  // The process has one, and that is the main thread's.
  if (!isMainThread) delete variables.LAMEDUCK_REPORT_FILE;
  const situation = { interactive: interactive(), development: development() };
  try {
    return new native.Driver({ ...settings, ...situation }, variables);
  } catch (error) {
    throw new RangeError(`lameduck: ${(error as Error).message}`, { cause: error });
  }
}

function checkServer(server: unknown): void {
  const known = server instanceof HttpServer || server instanceof HttpsServer;
  if (!known && !(server instanceof NetServer && speaksHttp2(server))) {
    throw new TypeError(
      `lameduck: this is no http, https or http2 server: ${shown(server)}; pass what createServer() or app.listen() returned`,
    );
  }
  if (attached.has(server)) {
    throw new TypeError('lameduck: this server is attached already; attach it once, and keep what lameduck() returned');
  }
}
