// Lets the servers of examples/ run with this folder's packages and the binding as it is here: node --import this file.
import { readFile } from 'node:fs/promises';
import { register } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const examples = new URL('../../../../examples/', import.meta.url).href;

if (isMainThread) register(import.meta.url);

/** Packages are looked for from here, lameduck itself in the binding's own folder, and `x.js` of TypeScript is `x.ts`. */
export async function resolve(specifier, context, next) {
  if (!context.parentURL?.startsWith(examples)) return next(specifier, context);
  if (specifier.startsWith('.')) {
    return next(specifier, context).catch(() => next(specifier.replace(/\.js$/, '.ts'), context));
  }
  const [name] = specifier.split('/');
  // Express 4 is installed under another name.
  const wanted = name === 'express' ? (process.env.EXPRESS ?? specifier) : specifier;
  const from = name === 'lameduck' ? new URL('../../lameduck.mjs', import.meta.url) : new URL('../packages.mjs', import.meta.url);
  return next(wanted, { ...context, parentURL: from.href });
}

/** TypeScript is compiled as it is loaded. */
export async function load(url, context, next) {
  if (!url.startsWith(examples) || !url.endsWith('.ts')) return next(url, context);
  const { default: ts } = await import('../../node_modules/typescript/lib/typescript.js');
  const { config } = ts.readConfigFile(new URL('tsconfig.json', url).pathname, ts.sys.readFile);
  const options = { ...ts.convertCompilerOptionsFromJson(config.compilerOptions, '').options, module: ts.ModuleKind.ESNext };
  const { outputText } = ts.transpileModule(await readFile(new URL(url), 'utf8'), { compilerOptions: options });
  return { format: 'module', source: outputText, shortCircuit: true };
}
