import { NodeDefaultCryptographicMaterialsManager } from '@aws-crypto/client-node'

// decrypt() of this SDK takes no expected encryption context: a materials manager has to demand it,
// before any key is asked for.
export function demanding(keyring, expected) {
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
