/*
 * A second implementation of the derivation profile hmac-drbg-p256, on OpenSSL's libcrypto.
 *
 * It shares nothing with brski.seed but docs/derivation.md. The generator is written out with
 * HMAC(), since OpenSSL's own HMAC-DRBG insists on 32 octets of entropy and 16 of nonce; for seeds
 * of 48 octets or more it is run as well (the first 32 octets as entropy, the rest as nonce: SP
 * 800-90A only ever joins the two) and must agree.
 *
 *     gcc -O2 -Wall -Wextra -Werror -o derive derive.c -lcrypto
 *     printf '%s %s\n' SEED_HEX CHIP_ID_HEX | ./derive
 *
 * prints, for each line of input, d (64 hex digits), the public point X || Y (128) and the number
 * of candidates that were drawn. An argument, in hex, takes the place of the curve's order in the
 * test of candidates, since the real one turns down too few of them to be seen.
 */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/obj_mac.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH 32
#define MOST 4096

static const char NAME[] = "hmac-drbg-p256";

static void need(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "derive: %s failed\n", what);
        exit(1);
    }
}

/* HMAC-SHA-256(key, v || separator || data); no separator when it is negative. */
static void mac(unsigned char out[HASH], const unsigned char key[HASH], const unsigned char v[HASH],
                int separator, const unsigned char *data, size_t length)
{
    unsigned char message[HASH + 1 + MOST];
    unsigned char result[HASH];
    size_t n = HASH;
    unsigned int written = 0;

    memcpy(message, v, HASH);
    if (separator >= 0) {
        message[n++] = (unsigned char)separator;
        need(length <= MOST, "length");
        if (length > 0)
            memcpy(message + n, data, length);
        n += length;
    }
    need(HMAC(EVP_sha256(), key, HASH, message, n, result, &written) != NULL && written == HASH, "HMAC");
    memcpy(out, result, HASH);
}

/* SP 800-90A Rev. 1, 10.1.2.2 */
static void update(unsigned char key[HASH], unsigned char v[HASH], const unsigned char *data, size_t length)
{
    mac(key, key, v, 0, data, length);
    mac(v, key, v, -1, NULL, 0);
    if (length == 0)
        return;
    mac(key, key, v, 1, data, length);
    mac(v, key, v, -1, NULL, 0);
}

/* The first 32 octets of OpenSSL's own generator, given what is joined as entropy and nonce. */
static void openssl_first(unsigned char out[HASH], unsigned char *seed, size_t seed_length,
                          const unsigned char *personalization, size_t length)
{
    unsigned int strength = 256;
    char digest[] = "SHA256", hmac[] = "HMAC";
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

    need(parent != NULL, "TEST-RAND");
    need(EVP_RAND_instantiate(parent, strength, 0, NULL, 0, parent_params), "TEST-RAND instantiate");
    EVP_RAND_free(method);
    method = EVP_RAND_fetch(NULL, "HMAC-DRBG", NULL);
    EVP_RAND_CTX *drbg = EVP_RAND_CTX_new(method, parent);
    need(drbg != NULL, "HMAC-DRBG");
    EVP_RAND_free(method);
    need(EVP_RAND_instantiate(drbg, strength, 0, personalization, length, drbg_params), "HMAC-DRBG instantiate");
    need(EVP_RAND_generate(drbg, out, HASH, strength, 0, NULL, 0), "HMAC-DRBG generate");
    EVP_RAND_CTX_free(drbg);
    EVP_RAND_CTX_free(parent);
}

static void derive(unsigned char *seed, size_t seed_length, const unsigned char *chip_id, size_t chip_length,
                   const BIGNUM *given_order)
{
    unsigned char personalization[sizeof NAME + 2 + MOST], material[2 * MOST];
    unsigned char key[HASH], v[HASH], point_octets[65], d_octets[HASH], first[HASH];
    size_t length = sizeof NAME; /* the name with its final 00 */
    int candidates = 0;
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *point = EC_POINT_new(group);
    BN_CTX *context = BN_CTX_new();
    BIGNUM *d = BN_new();
    const BIGNUM *order = given_order != NULL ? given_order : EC_GROUP_get0_order(group);

    memcpy(personalization, NAME, length);
    personalization[length++] = (unsigned char)(chip_length >> 8);
    personalization[length++] = (unsigned char)chip_length;
    memcpy(personalization + length, chip_id, chip_length);
    length += chip_length;
    memcpy(material, seed, seed_length);
    memcpy(material + seed_length, personalization, length);

    memset(key, 0, HASH);
    memset(v, 1, HASH);
    update(key, v, material, seed_length + length);
    do {
        if (candidates++)
            update(key, v, NULL, 0);
        mac(v, key, v, -1, NULL, 0);
        if (candidates == 1 && seed_length >= 48) {
            openssl_first(first, seed, seed_length, personalization, length);
            need(memcmp(first, v, HASH) == 0, "agreement of the two generators");
        }
        need(BN_bin2bn(v, HASH, d) != NULL, "BN_bin2bn");
    } while (BN_is_zero(d) || BN_cmp(d, order) >= 0);

    need(EC_POINT_mul(group, point, d, NULL, NULL, context), "EC_POINT_mul");
    need(EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, point_octets, 65, context) == 65,
         "EC_POINT_point2oct");
    need(BN_bn2binpad(d, d_octets, HASH) == HASH, "BN_bn2binpad");
    for (int i = 0; i < HASH; i++)
        printf("%02x", d_octets[i]);
    putchar(' ');
    for (int i = 1; i < 65; i++)
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

    if (argc > 1)
        need(BN_hex2bn(&order, argv[1]) > 0, "the order");
    while (scanf("%8192s %8192s", seed_text, chip_text) == 2) {
        size_t seed_length = unhex(seed, seed_text), chip_length = unhex(chip_id, chip_text);
        need(seed_length >= 32 && chip_length >= 1 && chip_length <= 64, "length of the input");
        derive(seed, seed_length, chip_id, chip_length, order);
    }
    BN_free(order);
    return 0;
}
