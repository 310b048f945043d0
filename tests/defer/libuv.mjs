// The same for libuv: Node's own handler runs after the window, and not before. Run by run.py. Loading the library as an addon
// starts the hold.
import { constants } from 'node:os'

const window = Number(process.env.DEFER_WINDOW_MS)
let asked
process.on('SIGTERM', () => {
  const after = performance.now() - asked
  console.log(after >= window ? 'ok' : `after ${after} ms of a window of ${window}`)
  process.exit(3)
})
process.dlopen({ exports: {} }, process.env.DEFER_LIBRARY, constants.dlopen.RTLD_NOW)
setTimeout(() => process.exit(1), window + 5000)
setTimeout(() => {
  asked = performance.now()
  process.kill(process.pid, 'SIGTERM')
}, 50)
