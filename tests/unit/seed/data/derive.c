/*
 * A second implementation of the derivation profiles that start an HMAC_DRBG, on OpenSSL's libcrypto:
 * hmac-drbg-p256, hmac-drbg-p384, open-dice-p256, open-dice-p384.
 *
 * It shares nothing with brski.seed but docs/derivation.md. The generator is written out with
 * HMAC(), since OpenSSL's own HMAC-DRBG insists on 32 octets of entropy and 16 of nonce; for entropy
 * input of 48 octets or more it is run as well (the first 32 octets as entropy, the rest as nonce:
 * SP 800-90A only ever joins the two) and must agree. HKDF is OpenSSL's.
 *
 *     gcc -O2 -Wall -Wextra -Werror -o derive derive.c -lcrypto
 *     printf '%s %s\n' SEED_HEX CHIP_ID_HEX | ./derive PROFILE
 *
 * prints, for each line of input, d, the public point X || Y and the number of candidates that were
 * drawn, in hex but the last. A second argument, in hex, takes the place of the curve's order in the
 * test of candidates, since the real one turns down too few of them to be seen.
 */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/obj_mac.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_HASH 64
#define MOST 4096

static const struct profile {
    const char *name;
    const char *digest;
    int hash;   /* octets of the digest */
    int curve;
    int scalar; /* octets of the order */
    int dice;   /* entropy input is ASYM_KDF of the seed, nothing is bound in */
} PROFILES[] = {
    {"hmac-drbg-p256", "SHA256", 32, NID_X9_62_prime256v1, 32, 0},
    {"hmac-drbg-p384", "SHA384", 48, NID_secp384r1, 48, 0},
    {"open-dice-p256", "SHA512", 64, NID_X9_62_prime256v1, 32, 1},
    {"open-dice-p384", "SHA512", 64, NID_secp384r1, 48, 1},
};

static const struct profile *chosen;

/* ASYM_SALT of the Open DICE profile */
static const unsigned char SALT[64] = {
    0x63, 0xB6, 0xA0, 0x4D, 0x2C, 0x07, 0x7F, 0xC1, 0x0F, 0x63, 0x9F, 0x21, 0xDA, 0x79, 0x38, 0x44,
    0x35, 0x6C, 0xC2, 0xB0, 0xB4, 0x41, 0xB3, 0xA7, 0x71, 0x24, 0x03, 0x5C, 0x03, 0xF8, 0xE1, 0xBE,
    0x60, 0x35, 0xD3, 0x1F, 0x28, 0x28, 0x21, 0xA7, 0x45, 0x0A, 0x02, 0x22, 0x2A, 0xB1, 0xB3, 0xCF,
    0xF1, 0x67, 0x9B, 0x05, 0xAB, 0x1C, 0xA5, 0xD1, 0xAF, 0xFB, 0x78, 0x9C, 0xCD, 0x2B, 0x0B, 0x3B};

static void need(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "derive: %s failed\n", what);
        exit(1);
    }
}

/* HMAC(key, v || separator || data); no separator when it is negative. */
static void mac(unsigned char *out, const unsigned char *key, const unsigned char *v, int separator,
                const unsigned char *data, size_t length)
{
    unsigned char message[MOST_HASH + 1 + MOST];
    unsigned char result[MOST_HASH];
    size_t n = chosen->hash;
    unsigned int written = 0;

    memcpy(message, v, n);
    if (separator >= 0) {
        message[n++] = (unsigned char)separator;
        need(length <= MOST, "length");
        if (length > 0)
            memcpy(message + n, data, length);
        n += length;
    }
    need(HMAC(EVP_get_digestbyname(chosen->digest), key, chosen->hash, message, n, result, &written) != NULL &&
             written == (unsigned int)chosen->hash,
         "HMAC");
    memcpy(out, result, chosen->hash);
}

/* SP 800-90A Rev. 1, 10.1.2.2 */
static void update(unsigned char *key, unsigned char *v, const unsigned char *data, size_t length)
{
    mac(key, key, v, 0, data, length);
    mac(v, key, v, -1, NULL, 0);
    if (length == 0)
        return;
    mac(key, key, v, 1, data, length);
    mac(v, key, v, -1, NULL, 0);
}

/* The first octets of OpenSSL's own generator, given what is joined as entropy and nonce. */
static void openssl_first(unsigned char *out, unsigned char *seed, size_t seed_length,
                          const unsigned char *personalization, size_t length)
{
    unsigned int strength = 256;
    char digest[16], hmac[] = "HMAC";
    EVP_RAND *method = EVP_RAND_fetch(NULL, "TEST-RAND", NULL);
    EVP_RAND_CTX *parent = EVP_RAND_CTX_new(method, NULL);
    OSSL_PARAM parent_params[] = {
        OSSL_PARAM_construct_uint(OSSL_RAND_PARAM_STRENGTH, &strength),
        OSSL_PARAM_construct_octet_string(OSSL_RAND_PARAM_TEST_ENTROPY, seed, 32),
        OSSL_PARAM_construct_octet_string(OSSL_RAND_PARAM_TEST_NONCE, seed + 32, seed_length - 32),
        OSSL_PARAM_construct_end()};
    OSSL_PARAM drbg_params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_DRBG_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_utf8_string(OSSL_DRBG_PARAM_MAC, hmac, 0), OSSL_PARAM_construct_end()};

    snprintf(digest, sizeof digest, "%s", chosen->digest);
    need(parent != NULL, "TEST-RAND");
    need(EVP_RAND_instantiate(parent, strength, 0, NULL, 0, parent_params), "TEST-RAND instantiate");
    EVP_RAND_free(method);
    method = EVP_RAND_fetch(NULL, "HMAC-DRBG", NULL);
    EVP_RAND_CTX *drbg = EVP_RAND_CTX_new(method, parent);
    need(drbg != NULL, "HMAC-DRBG");
    EVP_RAND_free(method);
    need(EVP_RAND_instantiate(drbg, strength, 0, personalization, length, drbg_params), "HMAC-DRBG instantiate");
    need(EVP_RAND_generate(drbg, out, chosen->scalar, strength, 0, NULL, 0), "HMAC-DRBG generate");
    EVP_RAND_CTX_free(drbg);
    EVP_RAND_CTX_free(parent);
}

/* HKDF-SHA-512(seed, ASYM_SALT, "Key Pair"), 32 octets */
static void asym_kdf(unsigned char out[32], unsigned char *seed, size_t length)
{
    char digest[] = "SHA512", info[] = "Key Pair";
    unsigned char salt[sizeof SALT];
    EVP_KDF *method = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(method);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, seed, length),
                           OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt, sizeof salt),
                           OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, strlen(info)),
                           OSSL_PARAM_construct_end()};

    memcpy(salt, SALT, sizeof SALT);
    need(context != NULL && EVP_KDF_derive(context, out, 32, params) == 1, "HKDF");
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(method);
}

/* Name, 00, length of the chip id in two octets, chip id; nothing for Open DICE. */
static size_t personalize(unsigned char *out, const unsigned char *chip_id, size_t chip_length)
{
    size_t length = strlen(chosen->name) + 1;

    if (chosen->dice)
        return 0;
    memcpy(out, chosen->name, length);
    out[length++] = (unsigned char)(chip_length >> 8);
    out[length++] = (unsigned char)chip_length;
    memcpy(out + length, chip_id, chip_length);
    return length + chip_length;
}

static void derive(unsigned char *seed, size_t seed_length, const unsigned char *chip_id, size_t chip_length,
                   const BIGNUM *given_order)
{
    unsigned char personalization[64 + MOST], material[2 * MOST + 64], entropy[MOST];
    unsigned char key[MOST_HASH], v[MOST_HASH], point_octets[97], d_octets[48], first[48];
    size_t length = personalize(personalization, chip_id, chip_length);
    size_t entropy_length = chosen->dice ? 32 : seed_length;
    int candidates = 0, scalar = chosen->scalar;
    EC_GROUP *group = EC_GROUP_new_by_curve_name(chosen->curve);
    EC_POINT *point = EC_POINT_new(group);
    BN_CTX *context = BN_CTX_new();
    BIGNUM *d = BN_new();
    const BIGNUM *order = given_order != NULL ? given_order : EC_GROUP_get0_order(group);

    if (chosen->dice)
        asym_kdf(entropy, seed, seed_length);
    else
        memcpy(entropy, seed, seed_length);
    memcpy(material, entropy, entropy_length);
    memcpy(material + entropy_length, personalization, length);

    memset(key, 0, chosen->hash);
    memset(v, 1, chosen->hash);
    update(key, v, material, entropy_length + length);
    do {
        if (candidates++)
            update(key, v, NULL, 0);
        mac(v, key, v, -1, NULL, 0);
        if (candidates == 1 && entropy_length >= 48) {
            openssl_first(first, entropy, entropy_length, personalization, length);
            need(memcmp(first, v, scalar) == 0, "agreement of the two generators");
        }
        need(BN_bin2bn(v, scalar, d) != NULL, "BN_bin2bn");
    } while (BN_is_zero(d) || BN_cmp(d, order) >= 0);

    need(EC_POINT_mul(group, point, d, NULL, NULL, context), "EC_POINT_mul");
    need(EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, point_octets, 1 + 2 * scalar, context) ==
             (size_t)(1 + 2 * scalar),
         "EC_POINT_point2oct");
    need(BN_bn2binpad(d, d_octets, scalar) == scalar, "BN_bn2binpad");
    for (int i = 0; i < scalar; i++)
        printf("%02x", d_octets[i]);
    putchar(' ');
    for (int i = 1; i < 1 + 2 * scalar; i++)
        printf("%02x", point_octets[i]);
    printf(" %d\n", candidates);
    BN_free(d);
    BN_CTX_free(context);
    EC_POINT_free(point);
    EC_GROUP_free(group);
}

static size_t unhex(unsigned char *out, const char *text)
{
    size_t n = strlen(text);
    need(n % 2 == 0 && n / 2 <= MOST, "length of the input");
    for (size_t i = 0; i < n / 2; i++) {
        unsigned int octet;
        need(sscanf(text + 2 * i, "%2x", &octet) == 1, "hexadecimal input");
        out[i] = (unsigned char)octet;
    }
    return n / 2;
}

int main(int argc, char **argv)
{
    static char seed_text[2 * MOST + 1], chip_text[2 * MOST + 1];
    static unsigned char seed[MOST], chip_id[MOST];
    BIGNUM *order = NULL;

    need(argc > 1, "finding a profile among the arguments");
    for (size_t i = 0; i < sizeof PROFILES / sizeof *PROFILES; i++)
        if (strcmp(argv[1], PROFILES[i].name) == 0)
            chosen = &PROFILES[i];
    need(chosen != NULL, "finding that profile");
    if (argc > 2)
        need(BN_hex2bn(&order, argv[2]) > 0, "the order");
    while (scanf("%8192s %8192s", seed_text, chip_text) == 2) {
        size_t seed_length = unhex(seed, seed_text), chip_length = unhex(chip_id, chip_text);
        need(seed_length >= 32 && chip_length >= 1 && chip_length <= 64, "length of the input");
        derive(seed, seed_length, chip_id, chip_length, order);
    }
    BN_free(order);
    return 0;
}
