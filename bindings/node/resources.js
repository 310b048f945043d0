'use strict';

module.exports = require('./dist/resources/index.js');
