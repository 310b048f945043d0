// Stopped as the documentation of Nest teaches: https://docs.nestjs.com/fundamentals/lifecycle-events
// onModuleDestroy runs at the signal, under the requests that are still served.
import { create } from './app.js';

const app = await create();
app.enableShutdownHooks();
await app.listen(Number(process.env.PORT ?? 3000));
