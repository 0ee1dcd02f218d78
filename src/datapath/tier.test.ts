import assert from 'node:assert/strict';
import { it } from 'node:test';
import { oldKernel } from './tier.ts';

it('a kernel is left to iptables by its own word when it is older than 5.7', () => {
  for (const release of ['2.6.78-generic', '4.18.0-553.el8_10.x86_64', '5.4.0-190-generic', '5.6.19']) {
    assert.match(oldKernel(release) ?? '', new RegExp(`^Linux ${release} is older than 5\\.7;`), release);
  }
});

it('a kernel is tried from 5.7 on, and when it does not say its version as Linux does', () => {
  for (const release of ['5.7.0', '5.10.0-46-cloud-amd64', '6.1', '10.0.1', 'unknown', '']) {
    assert.equal(oldKernel(release), null, release);
  }
});
