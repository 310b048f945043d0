import { setTimeout as sleep } from 'node:timers/promises';

export const dynamic = 'force-dynamic';

export async function GET() {
  await sleep(500);
  return new Response('that took a while\n');
}
