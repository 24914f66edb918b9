"""Constants of the standards, each with its section. No logic."""

from __future__ import annotations

from typing import Final

# -- object identifiers (dotted)
ID_DATA: Final = "1.2.840.113549.1.7.1"  # RFC 5652 §4
ID_SIGNED_DATA: Final = "1.2.840.113549.1.7.2"  # RFC 5652 §5.1
ID_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"  # RFC 5652 §11.1
ID_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"  # RFC 5652 §11.2
ID_SIGNING_TIME: Final = "1.2.840.113549.1.9.5"  # RFC 5652 §11.3
ID_CHALLENGE_PASSWORD: Final = "1.2.840.113549.1.9.7"  # RFC 2985 §5.4.1; RFC 7030 §3.5  # noqa: S105 - an OID
ID_EXTENSION_REQUEST: Final = "1.2.840.113549.1.9.14"  # RFC 2985 §5.4.2
ID_CSR_TEMPLATE: Final = "1.2.840.113549.1.9.16.2.61"  # RFC 9908 §3.4
ID_EXTENSION_TEMPLATE: Final = "1.2.840.113549.1.9.16.2.62"  # RFC 9908 §3.4
ID_CMC_CHANGE_SUBJECT_NAME: Final = "1.3.6.1.5.5.7.7.36"  # RFC 6402 §2.8
ID_CT_ANIMA_JSON_VOUCHER: Final = "1.2.840.113549.1.9.16.1.40"  # RFC 8366 §5.4
ID_PE_MASA_URL: Final = "1.3.6.1.5.5.7.1.32"  # RFC 8995 §2.3.2
ID_KP_CMC_RA: Final = "1.3.6.1.5.5.7.3.28"  # RFC 6402 §2.10; RFC 8995 §5.5.4
ID_KP_SERVER_AUTH: Final = "1.3.6.1.5.5.7.3.1"  # RFC 5280 §4.2.1.12
ID_KP_CLIENT_AUTH: Final = "1.3.6.1.5.5.7.3.2"  # RFC 5280 §4.2.1.12
ID_ON_HARDWARE_MODULE_NAME: Final = "1.3.6.1.5.5.7.8.4"  # RFC 4108 §5
ID_AT_SERIAL_NUMBER: Final = "2.5.4.5"  # RFC 5280 App. A; RFC 8995 §2.3.1
ID_AT_DN_QUALIFIER: Final = "2.5.4.46"  # RFC 5280 §4.1.2.4
ID_CE_SUBJECT_KEY_IDENTIFIER: Final = "2.5.29.14"  # RFC 5280 §4.2.1.2
ID_CE_KEY_USAGE: Final = "2.5.29.15"  # RFC 5280 §4.2.1.3
ID_CE_SUBJECT_ALT_NAME: Final = "2.5.29.17"  # RFC 5280 §4.2.1.6
ID_CE_BASIC_CONSTRAINTS: Final = "2.5.29.19"  # RFC 5280 §4.2.1.9
ID_CE_CRL_NUMBER: Final = "2.5.29.20"  # RFC 5280 §5.2.3
ID_CE_CRL_REASON: Final = "2.5.29.21"  # RFC 5280 §5.3.1
ID_CE_CRL_DISTRIBUTION_POINTS: Final = "2.5.29.31"  # RFC 5280 §4.2.1.13
ID_CE_AUTHORITY_KEY_IDENTIFIER: Final = "2.5.29.35"  # RFC 5280 §4.2.1.1
ID_CE_EXT_KEY_USAGE: Final = "2.5.29.37"  # RFC 5280 §4.2.1.12
ANY_EXTENDED_KEY_USAGE: Final = "2.5.29.37.0"  # RFC 5280 §4.2.1.12
ID_EC_PUBLIC_KEY: Final = "1.2.840.10045.2.1"  # RFC 5480 §2.1.1
SECP256R1: Final = "1.2.840.10045.3.1.7"  # RFC 5480 §2.1.1.1
SECP384R1: Final = "1.3.132.0.34"  # RFC 5480 §2.1.1.1
ECDSA_WITH_SHA256: Final = "1.2.840.10045.4.3.2"  # RFC 5758 §3.2
ECDSA_WITH_SHA384: Final = "1.2.840.10045.4.3.3"  # RFC 5758 §3.2
ECDSA_WITH_SHA512: Final = "1.2.840.10045.4.3.4"  # RFC 5758 §3.2
SHA256_WITH_RSA: Final = "1.2.840.113549.1.1.11"  # RFC 4055 §5
SHA384_WITH_RSA: Final = "1.2.840.113549.1.1.12"  # RFC 4055 §5
SHA512_WITH_RSA: Final = "1.2.840.113549.1.1.13"  # RFC 4055 §5
RSA_ENCRYPTION: Final = "1.2.840.113549.1.1.1"  # RFC 4055 §1.2
ID_ED25519: Final = "1.3.101.112"  # RFC 8410 §3
ID_ML_DSA_44: Final = "2.16.840.1.101.3.4.3.17"  # RFC 9881 §2
ID_ML_DSA_65: Final = "2.16.840.1.101.3.4.3.18"  # RFC 9881 §2
ID_ML_DSA_87: Final = "2.16.840.1.101.3.4.3.19"  # RFC 9881 §2
ID_SHA256: Final = "2.16.840.1.101.3.4.2.1"  # RFC 5754 §2.2
ID_SHA384: Final = "2.16.840.1.101.3.4.2.2"  # RFC 5754 §2.3
ID_SHA512: Final = "2.16.840.1.101.3.4.2.3"  # RFC 5754 §2.4
ID_AUTH_ENVELOPED_DATA: Final = "1.2.840.113549.1.9.16.1.23"  # RFC 5083 §2.1
ID_ENVELOPED_DATA: Final = "1.2.840.113549.1.7.3"  # RFC 5652 §6.1
ID_CT_ASYMMETRIC_KEY_PACKAGE: Final = "2.16.840.1.101.2.1.2.78.5"  # RFC 5958 §2
ID_AA_DECRYPT_KEY_ID: Final = "1.2.840.113549.1.9.16.2.37"  # RFC 4108 §2.2.5; RFC 7030 §4.4.1.1
ID_AA_ASYMM_DECRYPT_KEY_ID: Final = "1.2.840.113549.1.9.16.2.54"  # RFC 7030 §4.4.1.2
ID_SMIME_CAPABILITIES: Final = "1.2.840.113549.1.9.15"  # RFC 8551 §2.5.2
AES128_CBC: Final = "2.16.840.1.101.3.4.1.2"  # RFC 3565 §4.1
AES256_CBC: Final = "2.16.840.1.101.3.4.1.42"  # RFC 3565 §4.1
AES256_GCM: Final = "2.16.840.1.101.3.4.1.46"  # RFC 5084 §3.2
AES256_WRAP: Final = "2.16.840.1.101.3.4.1.45"  # RFC 3565 §2.3.2
DH_SINGLE_PASS_STD_DH_SHA256_KDF: Final = "1.3.132.1.11.1"  # RFC 5753 §7.1.4  # noqa: S105 - an OID
ID_RSAES_OAEP: Final = "1.2.840.113549.1.1.7"  # RFC 4055 §4.1
ID_MGF1: Final = "1.2.840.113549.1.1.8"  # RFC 4055 §2.2

# -- media types
VOUCHER_CMS_JSON: Final = "application/voucher-cms+json"  # RFC 8366 §8.3; RFC 8995 §5.2
VOUCHER_JWS_JSON: Final = "application/voucher-jws+json"  # draft-ietf-anima-jws-voucher
VOUCHER_COSE: Final = "application/voucher+cose"  # draft-ietf-anima-constrained-voucher
JSON: Final = "application/json"  # RFC 8259; RFC 8995 §5.7, §5.8, §5.9.4
PKCS10: Final = "application/pkcs10"  # RFC 5967; RFC 7030 §4.2.1
PKCS7_MIME: Final = "application/pkcs7-mime"  # RFC 7030 §4.1.3
PKCS7_CERTS_ONLY: Final = "application/pkcs7-mime; smime-type=certs-only"  # RFC 7030 §4.2.3
PKCS8: Final = "application/pkcs8"  # RFC 5958 §7; RFC 7030 §4.4.2
PKCS7_SERVER_KEY: Final = "application/pkcs7-mime; smime-type=server-generated-key"  # §4.4.2
CSR_ATTRIBUTES: Final = "application/csrattrs"  # RFC 7030 §4.5.2
PKIX_CRL: Final = "application/pkix-crl"  # RFC 2585 §4.2
TEXT: Final = "text/plain"  # RFC 8995 §5.6

# -- well-known paths
BRSKI_ROOT: Final = "/.well-known/brski"  # RFC 8995 §8.3.1
REQUEST_VOUCHER: Final = "/requestvoucher"  # RFC 8995 §5.2, §5.5
VOUCHER_STATUS: Final = "/voucher_status"  # RFC 8995 §5.7
REQUEST_AUDIT_LOG: Final = "/requestauditlog"  # RFC 8995 §5.8
ENROLL_STATUS: Final = "/enrollstatus"  # RFC 8995 §5.9.4
EST_ROOT: Final = "/.well-known/est"  # RFC 7030 §3.2.2
CA_CERTS: Final = "/cacerts"  # RFC 7030 §4.1
CSR_ATTRS: Final = "/csrattrs"  # RFC 7030 §4.5
SIMPLE_ENROLL: Final = "/simpleenroll"  # RFC 7030 §4.2
SIMPLE_REENROLL: Final = "/simplereenroll"  # RFC 7030 §4.2.2
SERVER_KEY_GEN: Final = "/serverkeygen"  # RFC 7030 §4.4
FULL_CMC: Final = "/fullcmc"  # RFC 7030 §4.3

# -- limits
NONCE_OCTETS: Final = (8, 32)  # RFC 8366 §5.3: least and most, after base64
RETRY_AFTER_CAP_S: Final = 60  # RFC 8995 §5.6
BODY_LIMIT: Final = 64 * 1024  # ours: a voucher-request with its chains needs less than 16 kB
CERTIFICATES_LIMIT: Final = 8  # ours: in one message or handshake
NEVER_EXPIRES: Final = "99991231235959Z"  # RFC 5280 §4.1.2.5; 802.1AR

# -- names under which registrars and join proxies are found

MDNS_REGISTRAR: Final = "_brski-registrar._tcp.local."  # RFC 8995 §8.6, Appendix B
MDNS_PROXY: Final = "_brski-proxy._tcp.local."  # RFC 8995 §8.6, Appendix B
