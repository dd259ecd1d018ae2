/** Stands for a file whose text a bundler would put in. */
module.exports = '<svg xmlns="http://www.w3.org/2000/svg"></svg>';
