/* inventory: the schema of the document that says which devices exist. */
#include "common/documents/schema.h"
#include <stdlib.h>
#include <string.h>

#define DEVICES_MAX 4096
#define VALUES_PER_DEVICE 5 /* id, key, ak, ek, chip */

struct raw_device {
    char *id, *key, *ak, *ek, *chip;
};

struct raw_inventory {
    struct head head;
    struct raw_device *devices;
    unsigned devices_count;
};

static const cyaml_schema_field_t device_fields[] = {
    FIELD_TEXT("id", struct raw_device, id),
    FIELD_TEXT("key", struct raw_device, key),
    FIELD_TEXT_OPTIONAL("ak", struct raw_device, ak),
    FIELD_TEXT_OPTIONAL("ek", struct raw_device, ek),
    FIELD_TEXT_OPTIONAL("chip", struct raw_device, chip),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t device_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_device, device_fields)};
static const cyaml_schema_field_t inventory_fields[] = {
    FIELDS_HEAD(struct raw_inventory),
    FIELD_TEXT("version", struct raw_inventory, head.version),
    CYAML_FIELD_SEQUENCE("devices", CYAML_FLAG_POINTER, struct raw_inventory, devices, &device_value, 0, DEVICES_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t inventory_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_inventory, inventory_fields)};

/* Zero means "has no such thing", so it cannot be written as a value. */
static int read_hash(struct reader *r, const char *key, const char *text, uint8_t ret[HASH_LEN])
{
    TRY(read_hex(r, key, text, ret, HASH_LEN));
    if (bytes_is_zero(BYTES(ret, HASH_LEN)))
        return read_fail(r, ERR_FORMAT, key, "must not be zero; leave the key out");
    return 0;
}

static int read_chip(struct reader *r, const char *text, struct device *d)
{
    size_t len = strlen(text) / 2;
    if (len < 1 || len > sizeof(d->chip_id))
        return read_fail(r, ERR_FORMAT, "chip", "must be 1 to %zu bytes as hex", sizeof(d->chip_id));
    TRY(read_hex(r, "chip", text, d->chip_id, len));
    if (bytes_is_zero(BYTES(d->chip_id, len)))
        return read_fail(r, ERR_FORMAT, "chip", "must not be zero; leave the key out");
    d->chip_id_len = len;
    return 0;
}

static int read_device(struct reader *r, const struct raw_device *raw, struct device *d)
{
    TRY(read_name(r, "id", raw->id, d->id));
    TRY(read_hash(r, "key", raw->key, d->key_hash));
    if (raw->ak != NULL)
        TRY(read_hash(r, "ak", raw->ak, d->ak_hash));
    if (raw->ek != NULL)
        TRY(read_hash(r, "ek", raw->ek, d->ek_hash));
    return raw->chip != NULL ? read_chip(r, raw->chip, d) : 0;
}

static int check_distinct(struct reader *r, const struct inventory *v)
{
    struct distinct *all = calloc(v->count * VALUES_PER_DEVICE + 1, sizeof(*all));
    if (all == NULL)
        return err_set(r->err, ERR_NOMEM, "%s: out of memory", r->source);
    size_t n = 0;
    for (size_t i = 0; i < v->count; i++) {
        const struct device *d = &v->devices[i];
        all[n++] = (struct distinct){bytes_str(d->id), "devices", "id", i};
        all[n++] = (struct distinct){BYTES_OF(d->key_hash), "devices", "key", i};
        if (!bytes_is_zero(BYTES_OF(d->ak_hash)))
            all[n++] = (struct distinct){BYTES_OF(d->ak_hash), "devices", "ak", i};
        if (!bytes_is_zero(BYTES_OF(d->ek_hash)))
            all[n++] = (struct distinct){BYTES_OF(d->ek_hash), "devices", "ek", i};
        if (d->chip_id_len > 0)
            all[n++] = (struct distinct){BYTES(d->chip_id, d->chip_id_len), "devices", "chip", i};
    }
    int rc = read_distinct(r, all, n);
    free(all);
    return rc;
}

static int read_inventory(struct reader *r, const void *raw_)
{
    const struct raw_inventory *raw = raw_;
    struct inventory *v = &r->d->inventory;
    TRY(read_head(r, &raw->head));
    TRY(read_array(r, raw->devices_count, sizeof(*v->devices), &v->devices));
    for (size_t i = 0; i < raw->devices_count; i++) {
        reader_at(r, "devices[%zu]", i);
        TRY(read_device(r, &raw->devices[i], &v->devices[i]));
    }
    v->count = raw->devices_count;
    return check_distinct(r, v);
}

static void write_inventory(const struct document *d, struct buf *out)
{
    write_head(d, true, out);
    write_time(out, "issued: ", d->issued_ms);
    write_time(out, "expires: ", d->expires_ms);
    buf_str(out, d->inventory.count > 0 ? "devices:\n" : "devices: []\n");
    for (size_t i = 0; i < d->inventory.count; i++) {
        const struct device *v = &d->inventory.devices[i];
        buf_printf(out, "  - id: %s\n", v->id);
        write_hex(out, "    key: ", BYTES_OF(v->key_hash));
        if (!bytes_is_zero(BYTES_OF(v->ak_hash)))
            write_hex(out, "    ak: ", BYTES_OF(v->ak_hash));
        if (!bytes_is_zero(BYTES_OF(v->ek_hash)))
            write_hex(out, "    ek: ", BYTES_OF(v->ek_hash));
        if (v->chip_id_len > 0)
            write_hex(out, "    chip: ", BYTES(v->chip_id, v->chip_id_len));
    }
}

const struct schema inventory_schema = {&inventory_value, read_inventory, write_inventory};

const struct device *inventory_find_key(const struct document *inventory, const uint8_t key_hash[HASH_LEN])
{
    for (size_t i = 0; i < inventory->inventory.count; i++)
        if (memcmp(inventory->inventory.devices[i].key_hash, key_hash, HASH_LEN) == 0)
            return &inventory->inventory.devices[i];
    return NULL;
}
