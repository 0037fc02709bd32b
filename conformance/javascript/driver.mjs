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
  NodeDefaultCryptographicMaterialsManager,
} from '@aws-crypto/client-node'

const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)

// decrypt() of this SDK takes no expected encryption context: a materials manager has to demand it,
// before any key is asked for.
function demanding(keyring, expected) {
  const manager = new NodeDefaultCryptographicMaterialsManager(keyring)
  return {
    getEncryptionMaterials: (request) => manager.getEncryptionMaterials(request),
    decryptMaterials: async (request) => {
      const found = request.encryptionContext
      for (const name of new Set([...Object.keys(found), ...Object.keys(expected)])) {
        if (found[name] !== expected[name]) {
          throw new Error(`the encryption context differs in ${name}`)
        }
      }
      return manager.decryptMaterials(request)
    },
  }
}

const job = JSON.parse(readFileSync(0, 'utf8'))
const { endpoint, region } = job
const keyStore = new BranchKeyStoreNode({
  logicalKeyStoreName: job.table,
  storage: { ddbTableName: job.table, ddbClient: new DynamoDBClient({ endpoint, region }) },
  kmsConfiguration: { identifier: job.kms_key },
  keyManagement: { kmsClient: new KMSClient({ endpoint, region }) },
})

const keyrings = new Map()
function keyringOf(branchKeyId) {
  if (!keyrings.has(branchKeyId)) {
    // Without utf8Sorting this SDK sorts the context's names by locale, unlike every other SDK.
    const options = { branchKeyId, keyStore, cacheLimitTtl: 600, utf8Sorting: true }
    keyrings.set(branchKeyId, new KmsHierarchicalKeyRingNode(options))
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
  const manager = demanding(keyringOf(one.key_id), one.context)
  const { plaintext } = await decrypt(manager, Buffer.from(one.message, 'base64'))
  return { plaintext: plaintext.toString('base64') }
})

const sealed = await answers(job.seal, async (one) => {
  const { result } = await encrypt(keyringOf(one.key_id), Buffer.from(one.plaintext, 'base64'), {
    suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
    encryptionContext: one.context,
  })
  return { message: result.toString('base64') }
})

const { version } = JSON.parse(
  readFileSync(new URL('./node_modules/@aws-crypto/client-node/package.json', import.meta.url), 'utf8'),
)
process.stdout.write(JSON.stringify({ sdk: `@aws-crypto/client-node ${version}`, opened, sealed }))
