/* document: enfilade document: sign, show and verify what people sign. */
#include "common/documents/document.h"
#include "common/base/clock.h"
#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/json.h"
#include <inttypes.h>
#include <string.h>

int document_status(int argc, char **argv); /* status_document.c */

static const char help[] =
    "enfilade document show FILE [--json]     what a document says of itself (unverified), its hash, its signers\n"
    "enfilade document sign --key FILE --name KEYNAME IN OUT\n"
    "                                         signs a text, or adds a signature to a note; OUT may be IN\n"
    "enfilade document key --name KEYNAME OUT makes an Ed25519 key in OUT (0600), prints its vkey\n"
    "enfilade document vkey --key FILE --name KEYNAME\n"
    "enfilade document verify FILE...         each under the documents before it: root first; with --config under "
    "those\n"
    "                                         of client.yaml\n"
    "enfilade document status ...             a new status document; --help tells more\n"
    "\n"
    "A document is what it says: the text is checked before it is signed, and you sign what you can read.\n";

/* The text of a note or a bare text. */
static struct bytes text_of(struct bytes file)
{
    struct bytes text;
    return note_text(file, &text, NULL) == 0 ? text : file;
}

static int read_document(const char *path, struct buf *file, struct document **ret, struct err *err)
{
    TRY(cli_read_note(path, file, err));
    return document_parse(text_of(buf_view(file)), path, ret, err);
}

/* ---- show */

/* Names on the signature lines, unverified: "— name base64". */
static void each_signer(struct bytes file, void (*visit)(void *arg, struct bytes name), void *arg)
{
    struct bytes text = text_of(file);
    if (text.len == file.len)
        return;
    struct cursor c = {BYTES(file.p + text.len, file.len - text.len)};
    struct bytes line;
    while (cursor_line(&c, &line) == 0) {
        static const char dash[] = "\xe2\x80\x94 ";
        if (line.len < sizeof(dash) || memcmp(line.p, dash, sizeof(dash) - 1) != 0)
            continue;
        struct bytes name = BYTES(line.p + sizeof(dash) - 1, line.len - (sizeof(dash) - 1));
        const uint8_t *space = memchr(name.p, ' ', name.len);
        visit(arg, BYTES(name.p, space != NULL ? (size_t)(space - name.p) : name.len));
    }
}

static void print_signer(void *arg, struct bytes name)
{
    (void)arg;
    printf("# signed by %.*s (not verified)\n", (int)name.len, (const char *)name.p);
}

static void put_signer(void *arg, struct bytes name)
{
    json_bytes(arg, NULL, name);
}

static int show_json(const struct document *d, struct bytes file)
{
    struct buf b;
    struct json j;
    char time[CLOCK_TEXT_LEN + 1];
    buf_init(&b, 4 * 1024 * 1024);
    json_start(&j, &b);
    json_open(&j, NULL, '{');
    json_text(&j, "type", document_type_name(d->type));
    json_text(&j, "network", d->network);
    json_text(&j, "name", d->name);
    json_number(&j, "version", d->version);
    json_hex(&j, "hash", BYTES_OF(d->hash));
    clock_text(d->issued_ms, time);
    json_text(&j, "issued", time);
    clock_text(d->expires_ms, time);
    json_text(&j, "expires", time);
    json_open(&j, "signers", '[');
    each_signer(file, put_signer, &j);
    json_close(&j, ']');
    json_bytes(&j, "text", d->text);
    json_close(&j, '}');
    buf_str(&b, "\n");
    return cli_print(&b);
}

static int show(int argc, char **argv)
{
    bool json = false, hash_only = false;
    struct cli_list words = {.count = 0};
    const struct cli_option options[] = {{"json", NULL, &json, NULL}, {"hash", NULL, &hash_only, NULL}};
    struct err err = {0};
    struct buf file;
    struct document *d = NULL;
    int exit_code = cli_parse(argc, argv, options, 2, help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count != 1)
        return cli_usage("document show: name one file");
    if (read_document(words.at[0], &file, &d, &err) != 0) {
        buf_done(&file);
        return cli_fail(&err, json);
    }
    char hex[2 * HASH_LEN + 1];
    hex_encode(BYTES_OF(d->hash), hex);
    exit_code = EXIT_DONE;
    if (json) {
        exit_code = show_json(d, buf_view(&file));
    } else if (hash_only) {
        puts(hex);
    } else {
        fwrite(d->text.p, 1, d->text.len, stdout);
        printf("# %s%s%s, version %" PRIu64 ", hash %s\n", document_type_name(d->type), d->name[0] != '\0' ? " " : "",
               d->name, d->version, hex);
        each_signer(buf_view(&file), print_signer, NULL);
    }
    document_unref(d);
    buf_done(&file);
    return exit_code;
}

/* ---- keys and signatures */

static void print_vkey(const struct ed25519_key *key, const char *name)
{
    uint8_t public[ED25519_PUBLIC_LEN];
    struct note_key vkey;
    struct buf b;
    ed25519_key_public(key, public);
    buf_init(&b, 1024);
    if (note_key_make(name, public, &vkey) != 0) {
        fprintf(stderr, "enfilade: '%s' cannot be the name of a key\n", name);
        return;
    }
    note_key_text(&vkey, &b);
    buf_str(&b, "\n");
    (void)cli_print(&b);
}

static int make_key(int argc, char **argv)
{
    const char *name = NULL;
    struct cli_list words = {.count = 0};
    const struct cli_option options[] = {{"name", &name, NULL, NULL}};
    struct err err = {0};
    struct ed25519_key *key = NULL;
    int exit_code = cli_parse(argc, argv, options, 1, help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count != 1 || name == NULL)
        return cli_usage("document key: --name and one file");
    int rc = ed25519_key_new(&key);
    if (rc != 0)
        err_set(&err, rc, "no key could be made");
    else
        rc = ed25519_key_save(key, words.at[0], &err);
    if (rc == 0)
        print_vkey(key, name);
    ed25519_key_free(key);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, false);
}

static int show_vkey(int argc, char **argv)
{
    const char *name = NULL, *path = NULL;
    struct cli_list words = {.count = 0};
    const struct cli_option options[] = {{"name", &name, NULL, NULL}, {"key", &path, NULL, NULL}};
    struct err err = {0};
    struct ed25519_key *key = NULL;
    int exit_code = cli_parse(argc, argv, options, 2, help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count != 0 || name == NULL || path == NULL)
        return cli_usage("document vkey: --name and --key");
    if (ed25519_key_load(path, &key, &err) != 0)
        return cli_fail(&err, false);
    print_vkey(key, name);
    ed25519_key_free(key);
    return EXIT_DONE;
}

static int sign_file(const char *in, const char *out, const char *key_path, const char *name, struct err *err)
{
    struct buf file, note;
    struct document *d = NULL;
    struct ed25519_key *key = NULL;
    buf_init(&note, NOTE_MAX);
    int rc = read_document(in, &file, &d, err);
    if (rc == 0 && d->type == DOCUMENT_CHAIN)
        rc = err_set(err, ERR_USAGE, "%s: nobody signs a chain", in);
    if (rc == 0)
        rc = ed25519_key_load(key_path, &key, err);
    if (rc == 0)
        rc = note_sign(buf_view(&file), name, key, &note, err);
    if (rc == 0)
        rc = file_write(out, buf_view(&note), 0644, err);
    ed25519_key_free(key);
    document_unref(d);
    buf_done(&file);
    buf_done(&note);
    return rc;
}

static int sign(int argc, char **argv)
{
    const char *key = NULL, *name = NULL;
    struct cli_list words = {.count = 0};
    const struct cli_option options[] = {{"key", &key, NULL, NULL}, {"name", &name, NULL, NULL}};
    struct err err = {0};
    int exit_code = cli_parse(argc, argv, options, 2, help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count != 2 || key == NULL || name == NULL)
        return cli_usage("document sign: --key, --name, IN and OUT");
    return sign_file(words.at[0], words.at[1], key, name, &err) == 0 ? EXIT_DONE : cli_fail(&err, false);
}

/* ---- verify */

static int verify(int argc, char **argv)
{
    const char *config = NULL;
    struct cli_list words = {.count = 0};
    const struct cli_option options[] = {{"config", &config, NULL, NULL}};
    struct err err = {0};
    struct cli_shelf shelf = {0};
    int exit_code = cli_parse(argc, argv, options, 1, help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count == 0)
        return cli_usage("document verify: name the files");
    if (cli_shelf_open(config, &words, &shelf, &err) != 0)
        return cli_fail(&err, false);
    for (size_t i = 0; i < words.count; i++)
        printf("%s: ok\n", words.at[i]);
    cli_shelf_close(&shelf);
    return EXIT_DONE;
}

int verb_document(int argc, char **argv)
{
    static const struct cli_sub subs[] = {{"show", show},      {"sign", sign},     {"key", make_key},
                                          {"vkey", show_vkey}, {"verify", verify}, {"status", document_status}};
    return cli_dispatch(argc, argv, subs, sizeof(subs) / sizeof(subs[0]), help);
}
