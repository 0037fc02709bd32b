// Opens and seals encfields' values with the AWS Encryption SDK for JavaScript.
// The contract is in ../README.md.

import { readFileSync } from 'node:fs'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { KMSClient } from '@aws-sdk/client-kms'
import {
  AlgorithmSuiteIdentifier,
  BranchKeyStoreNode,
  buildClient,
  CommitmentPolicy,
  KmsHierarchicalKeyRingNode,
} from '@aws-crypto/client-node'
import { demanding } from './demanding.mjs'

const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)

const job = JSON.parse(readFileSync(0, 'utf8'))
const { endpoint, region } = job
const keyStore = new BranchKeyStoreNode({
  logicalKeyStoreName: job.table,
  storage: { ddbTableName: job.table, ddbClient: new DynamoDBClient({ endpoint, region }) },
  kmsConfiguration: { identifier: job.kms_key },
  keyManagement: { kmsClient: new KMSClient({ endpoint, region }) },
})

function keyringFor(branchKeyId) {
  // Without utf8Sorting this SDK sorts the context's names by locale, unlike every other SDK.
  const options = { branchKeyId, keyStore, cacheLimitTtl: 600, utf8Sorting: true }
  return new KmsHierarchicalKeyRingNode(options)
}

async function open(keyring, stored, context) {
  const { plaintext } = await decrypt(demanding(keyring, context), stored)
  return plaintext
}

async function seal(keyring, plaintext, context) {
  const { result } = await encrypt(keyring, plaintext, {
    suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
    encryptionContext: context,
  })
  return result
}

const keyrings = new Map()
function keyringOf(branchKeyId) {
  if (!keyrings.has(branchKeyId)) {
    keyrings.set(branchKeyId, keyringFor(branchKeyId))
  }
  return keyrings.get(branchKeyId)
}

async function answers(asked, answer) {
  const found = {}
  for (const one of asked) {
    try {
      found[one.name] = await answer(one)
    } catch (error) {
      found[one.name] = { refused: String(error) }
    }
  }
  return found
}

const opened = await answers(job.open, async (one) => {
  const stored = Buffer.from(one.message, 'base64')
  const plaintext = await open(keyringOf(one.key_id), stored, one.context)
  return { plaintext: plaintext.toString('base64') }
})

const sealed = await answers(job.seal, async (one) => {
  const plaintext = Buffer.from(one.plaintext, 'base64')
  const message = await seal(keyringOf(one.key_id), plaintext, one.context)
  return { message: message.toString('base64') }
})

const { version } = JSON.parse(
  readFileSync(new URL('./node_modules/@aws-crypto/client-node/package.json', import.meta.url), 'utf8'),
)
process.stdout.write(JSON.stringify({ sdk: `@aws-crypto/client-node ${version}`, opened, sealed }))
