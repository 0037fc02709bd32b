// Opens and seals encfields' values with the AWS Encryption SDK for Go.
// The contract is in ../README.md.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"

	keystore "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographykeystoresmithygenerated"
	keystoretypes "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographykeystoresmithygeneratedtypes"
	mpl "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygenerated"
	mpltypes "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygeneratedtypes"
	client "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygenerated"
	esdktypes "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygeneratedtypes"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

type asked struct {
	Name      string            `json:"name"`
	KeyID     string            `json:"key_id"`
	Message   []byte            `json:"message"`
	Plaintext []byte            `json:"plaintext"`
	Context   map[string]string `json:"context"`
}

type job struct {
	Endpoint string  `json:"endpoint"`
	Region   string  `json:"region"`
	Table    string  `json:"table"`
	KmsKey   string  `json:"kms_key"`
	Open     []asked `json:"open"`
	Seal     []asked `json:"seal"`
}

type driver struct {
	sdk      *client.Client
	store    *keystore.Client
	library  *mpl.Client
	keyrings map[string]mpltypes.IKeyring
}

func main() {
	var todo job
	if err := json.NewDecoder(os.Stdin).Decode(&todo); err != nil {
		fail(err)
	}
	made, err := newDriver(todo)
	if err != nil {
		fail(err)
	}
	answer := map[string]any{
		"sdk":    "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk " + version(),
		"opened": answers(todo.Open, "plaintext", made.open),
		"sealed": answers(todo.Seal, "message", made.seal),
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fail(err)
	}
}

func newDriver(todo job) (*driver, error) {
	loaded, err := config.LoadDefaultConfig(context.Background(), config.WithRegion(todo.Region))
	if err != nil {
		return nil, err
	}
	store, err := keystore.NewClient(keystoretypes.KeyStoreConfig{
		DdbTableName:        todo.Table,
		LogicalKeyStoreName: todo.Table,
		KmsConfiguration:    &keystoretypes.KMSConfigurationMemberkmsKeyArn{Value: todo.KmsKey},
		DdbClient: dynamodb.NewFromConfig(loaded, func(o *dynamodb.Options) {
			o.BaseEndpoint = aws.String(todo.Endpoint)
		}),
		KmsClient: kms.NewFromConfig(loaded, func(o *kms.Options) {
			o.BaseEndpoint = aws.String(todo.Endpoint)
		}),
	})
	if err != nil {
		return nil, err
	}
	library, err := mpl.NewClient(mpltypes.MaterialProvidersConfig{})
	if err != nil {
		return nil, err
	}
	policy := mpltypes.ESDKCommitmentPolicyRequireEncryptRequireDecrypt
	sdk, err := client.NewClient(esdktypes.AwsEncryptionSdkConfig{CommitmentPolicy: &policy})
	if err != nil {
		return nil, err
	}
	return &driver{sdk, store, library, map[string]mpltypes.IKeyring{}}, nil
}

func (d *driver) keyring(id string) (mpltypes.IKeyring, error) {
	if known, there := d.keyrings[id]; there {
		return known, nil
	}
	made, err := d.keyringFor(id)
	if err == nil {
		d.keyrings[id] = made
	}
	return made, err
}

func (d *driver) keyringFor(branchKeyID string) (mpltypes.IKeyring, error) {
	return d.library.CreateAwsKmsHierarchicalKeyring(
		context.Background(),
		mpltypes.CreateAwsKmsHierarchicalKeyringInput{
			KeyStore:    d.store,
			BranchKeyId: aws.String(branchKeyID),
			TtlSeconds:  600,
		},
	)
}

func (d *driver) open(one asked) ([]byte, error) {
	keyring, err := d.keyring(one.KeyID)
	if err != nil {
		return nil, err
	}
	return open(d.sdk, keyring, one.Message, one.Context)
}

func open(
	sdk *client.Client, keyring mpltypes.IKeyring, stored []byte, place map[string]string,
) ([]byte, error) {
	result, err := sdk.Decrypt(context.Background(), esdktypes.DecryptInput{
		Ciphertext:        stored,
		EncryptionContext: place,
		Keyring:           keyring,
	})
	if err != nil {
		return nil, err
	}
	// The SDK refuses other values, and pairs that the message lacks; not pairs that it has beyond.
	if len(result.EncryptionContext) != len(place) {
		return nil, fmt.Errorf("the encryption context is another")
	}
	return result.Plaintext, nil
}

func (d *driver) seal(one asked) ([]byte, error) {
	keyring, err := d.keyring(one.KeyID)
	if err != nil {
		return nil, err
	}
	return seal(d.sdk, keyring, one.Plaintext, one.Context)
}

func seal(
	sdk *client.Client, keyring mpltypes.IKeyring, plaintext []byte, place map[string]string,
) ([]byte, error) {
	suite := mpltypes.ESDKAlgorithmSuiteIdAlgAes256GcmHkdfSha512CommitKey
	result, err := sdk.Encrypt(context.Background(), esdktypes.EncryptInput{
		Plaintext:         plaintext,
		EncryptionContext: place,
		Keyring:           keyring,
		AlgorithmSuiteId:  &suite,
	})
	if err != nil {
		return nil, err
	}
	return result.Ciphertext, nil
}

func answers(todo []asked, name string, answer func(asked) ([]byte, error)) map[string]any {
	found := map[string]any{}
	for _, one := range todo {
		content, err := answer(one)
		if err != nil {
			found[one.Name] = map[string]string{"refused": err.Error()}
			continue
		}
		if content == nil {
			content = []byte{}
		}
		found[one.Name] = map[string][]byte{name: content}
	}
	return found
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, one := range info.Deps {
		if one.Path == "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk" {
			return one.Version
		}
	}
	return "of unknown version"
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
