import face from './index.cjs';

export const { lameduck, Duck } = face;
