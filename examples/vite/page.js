export function render(url) {
  return `<!doctype html><script type="module" src="/@vite/client"></script><p>hello, ${encodeURIComponent(url)}</p>\n`;
}
