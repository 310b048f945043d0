/** A time: milliseconds, or a string with its unit: `'500ms'`, `'1.5s'`, `'2m'`. */
export type Duration = number | string;

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000 };

/**
 * `value` in milliseconds. A number below `least` is taken for a mistake: somebody
 * thought of seconds.
 */
export function milliseconds(name: string, value: unknown, least: number): number {
  if (typeof value === 'string') return parse(name, value);
  if (typeof value !== 'number') {
    throw new TypeError(
      `lameduck: ${name} is a number of milliseconds or a string such as '30s', not ${shown(value)}`,
    );
  }
  if (Number.isNaN(value) || value < 0 || (value === Infinity && name !== 'grace')) {
    throw new RangeError(`lameduck: ${name} is ${value}; it must be a time, zero or more`);
  }
  if (value > 0 && value < least) {
    throw new RangeError(
      `lameduck: ${name}: ${value} means ${value} ms; write ${value}_000 or '${value}s'` +
        ` (or '${value}ms' if that is what you want)`,
    );
  }
  return value;
}

function parse(name: string, text: string): number {
  if (name === 'grace' && text === 'unlimited') return Infinity;
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m)$/.exec(text.trim());
  const unit = UNITS[match?.[2] ?? ''];
  if (!match || unit === undefined) {
    throw new RangeError(
      `lameduck: ${name}: '${text}' is not a time; write a number and its unit, ms, s or m: '30s', '500ms'`,
    );
  }
  return Number(match[1]) * unit;
}

/** A value as an error message shows it. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`;
  if (value === null || typeof value !== 'object') return String(value);
  return Array.isArray(value) ? 'an array' : 'an object';
}
