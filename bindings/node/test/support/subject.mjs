// What the suite tests: the binding, or the stand-in that LAMEDUCK_TEST_SUBJECT names (a peer of `../peers/`, see can-fail.mjs).
const subject = await import(process.env.LAMEDUCK_TEST_SUBJECT ?? new URL('../../index.mjs', import.meta.url).href);

export const { lameduck } = subject;
