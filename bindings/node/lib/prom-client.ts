// `lameduck/prom-client`: the metrics of a duck in a registry of prom-client, beside those of the program.
import { Counter, Gauge, type Registry, register } from 'prom-client';

import type { Duck } from './duck.js';
import type { Family } from './metrics.js';

/**
 * Adds the metrics that `duck.metrics()` has as text to `registry`; without one, to the default registry. They are read
 * when somebody scrapes, also after shutdown.
 *
 * @throws Error when the registry has metrics of these names already; nothing was added then.
 */
export function collect(duck: Duck, registry: Registry = register): void {
  const taken = duck.families().find(({ name }) => registry.getSingleMetric(`lameduck_${name}`));
  if (taken) {
    throw new Error(
      `lameduck: this registry has lameduck_${taken.name} already; a registry takes one duck: call collect() once, ` +
        'or give each duck a registry of its own',
    );
  }
  // One scrape asks for every metric in the same turn.
  let seen: Family[] | undefined;
  const read = (name: string) => {
    if (!seen) {
      seen = duck.families();
      setImmediate(() => (seen = undefined));
    }
    return seen.find((family) => family.name === name)!.samples;
  };
  for (const { name, type, help, label } of duck.families()) {
    const settings = { name: `lameduck_${name}`, help, registers: [registry], labelNames: label === undefined ? [] : [label] };
    const labels = (value: string): Record<string, string> => (label === undefined ? {} : { [label]: value });
    if (type === 'gauge') {
      new Gauge({
        ...settings,
        collect() {
          for (const [of, value] of read(name)) this.set(labels(of), value);
        },
      });
    } else {
      new Counter({
        ...settings,
        collect() {
          this.reset();
          for (const [of, value] of read(name)) this.inc(labels(of), value);
        },
      });
    }
  }
}
