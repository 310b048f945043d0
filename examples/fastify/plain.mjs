// Stopped the way Fastify's own packages do it. Once app.close() has begun, requests are answered 503.
import closeWithGrace from 'close-with-grace';
import { app } from './app.mjs';

app.get('/readyz', () => 'ready\n');

closeWithGrace({ delay: 10_000 }, () => app.close());
await app.listen({ port: Number(process.env.PORT ?? 3000) });
