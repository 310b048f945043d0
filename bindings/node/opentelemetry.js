'use strict';

module.exports = require('./dist/opentelemetry.js');
