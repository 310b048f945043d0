// The one place that knows the names inside a report (schema lameduck-report/1).
import assert from 'node:assert/strict';

/** can-fail.mjs runs the suite against libraries that write no report: what one would say is taken as given. */
const lenient = process.env.LAMEDUCK_TEST_LENIENT === '1';

/** Asserts how many requests ended so: completed, client_gone, refused, ended, forced. A list of names adds them up. */
export function assertVerdict(report, names, count) {
  if (lenient) return;
  assert.ok(report, 'no report came');
  const text = JSON.stringify(report.requests);
  const verdicts = [names].flat().map((name) => report.requests[name]);
  assert.equal(verdicts.reduce((sum, n) => sum + n), count, `${names}: ${text}`);
}

/** Asserts how many requests came after the response that announced the close: not admitted, no verdict. */
export function assertNotProcessed(report, most) {
  if (lenient) return;
  assert.ok(report.requests.not_processed <= most, JSON.stringify(report.requests));
}

/** Every request has exactly one verdict. */
function assertBalanced({ requests: r }) {
  assert.equal(r.adopted + r.admitted, r.completed + r.client_gone + r.refused + r.ended + r.forced, `the verdicts do not balance: ${JSON.stringify(r)}`);
  assert.equal(r.in_flight, 0);
}

/** How one hook went: `{ name, stage, result, … }`. */
export function hook(report, name) {
  const found = report.hooks.find((one) => one.name === name);
  assert.ok(found, `the report has no hook ${name}: ${JSON.stringify(report.hooks)}`);
  return found;
}

/** Asserts the cause (terminate, interrupt, programmatic, uncaught_exception, unhandled_rejection …), and its detail: the signal, the caller's own text, the error. */
export function assertCause(report, expected, detail) {
  assert.equal(report.cause, expected);
  assert.equal(report.cause_detail, detail);
}

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
  assert.equal(end.report.phase, 'done');
  assert.equal(end.report.exit_code, code);
  assert.equal(end.report.lost.length > 0, code !== 0, `the reasons for the exit code: ${JSON.stringify(end.report.lost)}`);
  assertBalanced(end.report);
}
