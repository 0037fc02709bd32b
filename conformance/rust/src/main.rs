//! Opens and seals encfields' values with the AWS Encryption SDK for Rust.
//! The contract is in ../README.md.

use aws_esdk::client::Client as Sdk;
use aws_esdk::key_store::client::Client as KeyStore;
use aws_esdk::key_store::types::key_store_config::KeyStoreConfig;
use aws_esdk::key_store::types::KmsConfiguration;
use aws_esdk::material_providers::client::Client as Providers;
use aws_esdk::material_providers::types::keyring::KeyringRef;
use aws_esdk::material_providers::types::material_providers_config::MaterialProvidersConfig;
use aws_esdk::material_providers::types::EsdkAlgorithmSuiteId;
use aws_esdk::material_providers::types::EsdkCommitmentPolicy;
use aws_esdk::types::aws_encryption_sdk_config::AwsEncryptionSdkConfig;
use base64::prelude::{Engine, BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{json, Map, Value};
use std::collections::HashMap;
use std::error::Error;

type Answer = Result<Vec<u8>, Box<dyn Error>>;

#[derive(Deserialize)]
struct Asked {
    name: String,
    key_id: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    plaintext: String,
    context: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Job {
    endpoint: String,
    region: String,
    table: String,
    kms_key: String,
    open: Vec<Asked>,
    seal: Vec<Asked>,
}

struct Driver {
    sdk: Sdk,
    providers: Providers,
    key_store: KeyStore,
    keyrings: HashMap<String, KeyringRef>,
}

impl Driver {
    async fn new(job: &Job) -> Result<Self, Box<dyn Error>> {
        let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new(job.region.clone()))
            .endpoint_url(&job.endpoint)
            .load()
            .await;
        let key_store = KeyStoreConfig::builder()
            .kms_client(aws_sdk_kms::Client::new(&config))
            .ddb_client(aws_sdk_dynamodb::Client::new(&config))
            .ddb_table_name(&job.table)
            .logical_key_store_name(&job.table)
            .kms_configuration(KmsConfiguration::KmsKeyArn(job.kms_key.clone()))
            .build()?;
        let policy = EsdkCommitmentPolicy::RequireEncryptRequireDecrypt;
        let sdk = AwsEncryptionSdkConfig::builder()
            .commitment_policy(policy)
            .build()?;
        Ok(Self {
            sdk: Sdk::from_conf(sdk)?,
            providers: Providers::from_conf(MaterialProvidersConfig::builder().build()?)?,
            key_store: KeyStore::from_conf(key_store)?,
            keyrings: HashMap::new(),
        })
    }

    async fn keyring(&mut self, id: &str) -> Result<KeyringRef, Box<dyn Error>> {
        if let Some(known) = self.keyrings.get(id) {
            return Ok(known.clone());
        }
        let made = self.keyring_for(id).await?;
        self.keyrings.insert(id.to_owned(), made.clone());
        Ok(made)
    }

    async fn keyring_for(&self, branch_key_id: &str) -> Result<KeyringRef, Box<dyn Error>> {
        let made = self
            .providers
            .create_aws_kms_hierarchical_keyring()
            .key_store(self.key_store.clone())
            .branch_key_id(branch_key_id)
            .ttl_seconds(600)
            .send()
            .await?;
        Ok(made)
    }

    async fn open(&mut self, one: &Asked) -> Answer {
        let keyring = self.keyring(&one.key_id).await?;
        let stored = BASE64_STANDARD.decode(&one.message)?;
        open(&self.sdk, keyring, stored, one.context.clone()).await
    }

    async fn seal(&mut self, one: &Asked) -> Answer {
        let keyring = self.keyring(&one.key_id).await?;
        let plaintext = BASE64_STANDARD.decode(&one.plaintext)?;
        seal(&self.sdk, keyring, plaintext, one.context.clone()).await
    }
}

async fn open(
    sdk: &Sdk,
    keyring: KeyringRef,
    stored: Vec<u8>,
    context: HashMap<String, String>,
) -> Answer {
    let pairs = context.len();
    let opened = sdk
        .decrypt()
        .ciphertext(stored)
        .keyring(keyring)
        .encryption_context(context)
        .send()
        .await?;
    // The SDK refuses other values, and pairs that the message lacks; not pairs beyond.
    if opened.encryption_context.unwrap_or_default().len() != pairs {
        return Err("the encryption context is another".into());
    }
    Ok(opened.plaintext.ok_or("no plaintext")?.into_inner())
}

async fn seal(
    sdk: &Sdk,
    keyring: KeyringRef,
    plaintext: Vec<u8>,
    context: HashMap<String, String>,
) -> Answer {
    let sealed = sdk
        .encrypt()
        .plaintext(plaintext)
        .keyring(keyring)
        .encryption_context(context)
        .algorithm_suite_id(EsdkAlgorithmSuiteId::AlgAes256GcmHkdfSha512CommitKey)
        .send()
        .await?;
    Ok(sealed.ciphertext.ok_or("no ciphertext")?.into_inner())
}

fn told(name: &str, answer: Answer) -> Value {
    match answer {
        Ok(content) => json!({ name: BASE64_STANDARD.encode(content) }),
        Err(refusal) => json!({ "refused": refusal.to_string() }),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let job: Job = serde_json::from_reader(std::io::stdin())?;
    let mut driver = Driver::new(&job).await?;
    let (mut opened, mut sealed) = (Map::new(), Map::new());
    for one in &job.open {
        opened.insert(one.name.clone(), told("plaintext", driver.open(one).await));
    }
    for one in &job.seal {
        sealed.insert(one.name.clone(), told("message", driver.seal(one).await));
    }
    let sdk = "aws-esdk 1.2.4";
    println!(
        "{}",
        json!({ "sdk": sdk, "opened": opened, "sealed": sealed })
    );
    Ok(())
}
