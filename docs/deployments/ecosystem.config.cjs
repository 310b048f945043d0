const grace = 20; // seconds

module.exports = {
  apps: [
    {
      name: 'web',
      // The server itself: with npm in its place PM2 takes npm's end for the server's.
      script: './server.mjs',
      exec_mode: 'cluster',
      instances: 4,
      wait_ready: true,
      // PM2 kills after 1600 ms unless told otherwise.
      kill_timeout: grace * 1000,
      env: { NODE_ENV: 'production', LAMEDUCK_GRACE: grace },
    },
  ],
};
