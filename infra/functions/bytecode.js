'use strict';

// Puts our own code into the zip, with bytecode that stays valid there. A function's disk is read-only, and a zip
// changes every file's time, so ordinary .pyc files are stale on arrival and each cold start compiles all code again
// (0.3-0.5 s of CPU). Bytecode that is checked by the source's hash stays valid: ours is compiled here in place, and
// pip, which obeys the same environment variable, compiles the requirements in the same way.

const { spawnSync } = require('node:child_process');
const path = require('node:path');

module.exports = class Bytecode {
  constructor(serverless) {
    const { service } = serverless;
    this.hooks = {
      'before:package:createDeploymentArtifacts': () => {
        const { runtime } = service.provider;
        const { sources, without } = service.custom.bytecode;
        process.env.SOURCE_DATE_EPOCH = '315532800'; // 1980-01-01, the first day that a zip can name
        const words = ['-m', 'compileall', '-q', '-f', '--invalidation-mode', 'checked-hash', ...sources];
        const done = spawnSync(runtime, words, { cwd: serverless.serviceDir, encoding: 'utf8' });
        if (done.error || done.status !== 0) {
          const why = done.error ? done.error.message : `${done.stdout}${done.stderr}`;
          throw new serverless.classes.Error(
            `${runtime} could not compile ${sources.join(', ')}: ${why}\n` +
              'Put that Python on the PATH, or name yours: --param=runtime=python3.13',
          );
        }
        const tag = runtime.replace('python', 'cpython-').replace('.', '');
        service.package.patterns.push(...sources.flatMap((source) => patterns(source, tag)));
        service.package.patterns.push(...without.map((folder) => `!${folder}/**`));
      },
    };
  }
};

function patterns(source, tag) {
  if (!source.endsWith('.py')) return [`${source}/**/*.py`, `${source}/**/__pycache__/*.${tag}.pyc`];
  const { dir, name } = path.parse(source);
  return [source, `${dir}/__pycache__/${name}.${tag}.pyc`];
}
