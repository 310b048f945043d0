// An Express server as the Express documentation teaches it:
// https://expressjs.com/en/advanced/healthcheck-graceful-shutdown.html
import { app } from './app.mjs';

app.get('/readyz', (req, res) => {
  res.send('ready\n');
});

const server = app.listen(process.env.PORT ?? 3000);

process.on('SIGTERM', () => {
  server.close(() => {
    process.exit(0);
  });
});
