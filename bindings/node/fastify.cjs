'use strict';

const { lameduck } = require('./dist/fastify.js');

module.exports = lameduck;
module.exports.lameduck = lameduck;
module.exports.default = lameduck;
