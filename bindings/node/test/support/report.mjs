// The one place that knows the names inside a report (schema lameduck-report/1).
import assert from 'node:assert/strict';

/** can-fail.mjs runs the suite against libraries that write no report: what one would say is taken as given. */
const lenient = process.env.LAMEDUCK_TEST_LENIENT === '1';

/** Asserts how many requests ended so: completed, client_gone, refused, ended, forced. A list of names adds them up. */
export function assertVerdict(report, names, count) {
  if (lenient) return;
  assert.ok(report, 'no report came');
  const verdicts = [names].flat().map((name) => report.verdicts[name]);
  assert.equal(verdicts.reduce((sum, n) => sum + n), count, `${names}: ${JSON.stringify(report.verdicts)}`);
}

/** Asserts how many requests came after the response that announced the close: not admitted, no verdict. */
export function assertNotProcessed(report, most) {
  if (lenient) return;
  assert.ok(report.not_processed <= most, `not processed: ${report.not_processed}`);
}

/** How one hook went: `{ name, stage, result, … }`. */
export function hook(report, name) {
  const found = report.hooks.find((one) => one.name === name);
  assert.ok(found, `the report has no hook ${name}: ${JSON.stringify(report.hooks)}`);
  return found;
}

export const exitCode = (report) => report.exit_code;

/** The cause as text, with whatever detail the report has. */
export const cause = (report) => JSON.stringify(report.cause);

/** Asserts that the report names what held the shutdown up: every pattern occurs in it. */
export function assertNames(report, ...patterns) {
  if (lenient) return;
  assert.ok(report, 'no report came');
  const text = JSON.stringify(report);
  for (const pattern of patterns) assert.match(text, pattern);
}

/** Asserts the schema, and that the report and the process agree on the exit code. */
export function assertReport(end, code) {
  assert.equal(end.code, code, `exit code; report: ${JSON.stringify(end.report)}; stderr:\n${end.stderr}`);
  if (lenient) return;
  assert.ok(end.report, `no report came; stderr:\n${end.stderr}`);
  assert.equal(end.report.schema, 'lameduck-report/1');
  assert.equal(exitCode(end.report), code);
}
