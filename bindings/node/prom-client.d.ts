export * from './dist/prom-client.js';
