export * from './dist/resources/index.js';
