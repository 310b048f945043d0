// The application, the same for both servers.
import { setTimeout as sleep } from 'node:timers/promises';
import express from 'express';

export const app = express();

app.get('/', (req, res) => {
  res.send('hello\n');
});

// What was posted comes back, byte for byte.
app.post('/echo', express.raw({ type: () => true, limit: '1mb' }), (req, res) => {
  res.type('application/octet-stream').send(req.body);
});

app.get('/slow', async (req, res) => {
  await sleep(500);
  res.send('that took a while\n');
});
