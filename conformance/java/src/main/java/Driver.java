// Opens and seals encfields' values with the AWS Encryption SDK for Java.
// The contract is in conformance/README.md.

import com.amazonaws.encryptionsdk.AwsCrypto;
import com.amazonaws.encryptionsdk.CommitmentPolicy;
import com.amazonaws.encryptionsdk.CryptoAlgorithm;
import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.kms.KmsClient;
import software.amazon.cryptography.keystore.KeyStore;
import software.amazon.cryptography.keystore.model.KMSConfiguration;
import software.amazon.cryptography.keystore.model.KeyStoreConfig;
import software.amazon.cryptography.materialproviders.IKeyring;
import software.amazon.cryptography.materialproviders.MaterialProviders;
import software.amazon.cryptography.materialproviders.model.CreateAwsKmsHierarchicalKeyringInput;
import software.amazon.cryptography.materialproviders.model.MaterialProvidersConfig;

public final class Driver {
  private static final AwsCrypto CLIENT =
      AwsCrypto.builder()
          .withCommitmentPolicy(CommitmentPolicy.RequireEncryptRequireDecrypt)
          .withEncryptionAlgorithm(CryptoAlgorithm.ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY)
          .build();

  private final Map<String, IKeyring> keyrings = new HashMap<>();
  private final MaterialProviders providers =
      MaterialProviders.builder()
          .MaterialProvidersConfig(MaterialProvidersConfig.builder().build())
          .build();
  private final KeyStore keyStore;

  private Driver(JsonObject job) {
    URI endpoint = URI.create(job.get("endpoint").getAsString());
    Region region = Region.of(job.get("region").getAsString());
    String table = job.get("table").getAsString();
    KMSConfiguration kms =
        KMSConfiguration.builder().kmsKeyArn(job.get("kms_key").getAsString()).build();
    keyStore =
        KeyStore.builder()
            .KeyStoreConfig(
                KeyStoreConfig.builder()
                    .ddbClient(
                        DynamoDbClient.builder().endpointOverride(endpoint).region(region).build())
                    .kmsClient(KmsClient.builder().endpointOverride(endpoint).region(region).build())
                    .ddbTableName(table)
                    .logicalKeyStoreName(table)
                    .kmsConfiguration(kms)
                    .build())
            .build();
  }

  public static void main(String[] arguments) {
    JsonObject job =
        JsonParser.parseReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))
            .getAsJsonObject();
    Driver driver = new Driver(job);
    JsonObject answer = new JsonObject();
    answer.addProperty("sdk", "com.amazonaws:aws-encryption-sdk-java " + version());
    answer.add("opened", answers(job.getAsJsonArray("open"), driver::open));
    answer.add("sealed", answers(job.getAsJsonArray("seal"), driver::seal));
    new PrintStream(System.out, true, StandardCharsets.UTF_8).println(new Gson().toJson(answer));
    System.exit(0);
  }

  private interface Answer {
    JsonObject of(JsonObject asked);
  }

  private static JsonObject answers(JsonArray asked, Answer answer) {
    JsonObject found = new JsonObject();
    for (JsonElement element : asked) {
      JsonObject one = element.getAsJsonObject();
      JsonObject result;
      try {
        result = answer.of(one);
      } catch (RuntimeException refusal) {
        result = new JsonObject();
        result.addProperty("refused", refusal.toString());
      }
      found.add(one.get("name").getAsString(), result);
    }
    return found;
  }

  private JsonObject open(JsonObject one) {
    return reply("plaintext", open(keyring(one), bytes(one, "message"), context(one)));
  }

  private JsonObject seal(JsonObject one) {
    return reply("message", seal(keyring(one), bytes(one, "plaintext"), context(one)));
  }

  private IKeyring keyring(JsonObject one) {
    return keyrings.computeIfAbsent(one.get("key_id").getAsString(), this::keyringFor);
  }

  private IKeyring keyringFor(String branchKeyId) {
    return providers.CreateAwsKmsHierarchicalKeyring(
        CreateAwsKmsHierarchicalKeyringInput.builder()
            .keyStore(keyStore)
            .branchKeyId(branchKeyId)
            .ttlSeconds(600)
            .build());
  }

  private static byte[] open(IKeyring keyring, byte[] stored, Map<String, String> context) {
    var result = CLIENT.decryptData(keyring, stored, context);
    // The SDK refuses other values, and pairs that the message lacks; not pairs that it has beyond.
    if (!result.getEncryptionContext().keySet().equals(context.keySet())) {
      throw new IllegalStateException("the encryption context is another");
    }
    return result.getResult();
  }

  private static byte[] seal(IKeyring keyring, byte[] plaintext, Map<String, String> context) {
    return CLIENT.encryptData(keyring, plaintext, context).getResult();
  }

  private static Map<String, String> context(JsonObject one) {
    Map<String, String> pairs = new HashMap<>();
    one.getAsJsonObject("context")
        .entrySet()
        .forEach(pair -> pairs.put(pair.getKey(), pair.getValue().getAsString()));
    return pairs;
  }

  private static byte[] bytes(JsonObject one, String name) {
    return Base64.getDecoder().decode(one.get(name).getAsString());
  }

  private static JsonObject reply(String name, byte[] content) {
    JsonObject told = new JsonObject();
    told.addProperty(name, Base64.getEncoder().encodeToString(content));
    return told;
  }

  private static String version() {
    String path = "META-INF/maven/com.amazonaws/aws-encryption-sdk-java/pom.properties";
    try (var stream = AwsCrypto.class.getClassLoader().getResourceAsStream(path)) {
      var properties = new java.util.Properties();
      properties.load(stream);
      return properties.getProperty("version");
    } catch (Exception unknown) {
      return "of unknown version";
    }
  }
}
