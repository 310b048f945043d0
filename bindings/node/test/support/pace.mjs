// A reader that takes its time.

/** For `between` of a response: lets `total` bytes take `ms`; a machine that is slow itself is not slowed further. */
export function pace(total, ms) {
  const start = performance.now();
  return (have) => {
    const early = start + (have / total) * ms - performance.now();
    return early > 20 ? new Promise((resolve) => setTimeout(resolve, early)) : undefined;
  };
}
