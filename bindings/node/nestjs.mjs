import face from './nestjs.cjs';

export const { lameduck } = face;
