'use strict';

module.exports = require('./dist/prom-client.js');
