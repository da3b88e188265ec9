/* Reads lines of the serial contract (PROTOCOL.md, section 2). No ESP-IDF, no allocation in here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Version of the contract, PROTOCOL.md section 7 */
#define RIG_PROTOCOL_VERSION 1

/** Longest line in bytes, line feed included */
#define RIG_LINE_MAX 512

/** What a console line turned out to be */
typedef enum {
    RIG_LINE_OTHER, /**< nobody meant this for the contract: log output, noise */
    RIG_LINE_BAD,   /**< looks like a line, but is torn, damaged or against the grammar: not to be acted on */
    RIG_LINE_GOOD,  /**< check-sum and grammar are right */
} rig_line_verdict_t;

/** A good line. Points into the text that was parsed. */
typedef struct {
    uint32_t id; /**< 0 for an event (`-`) */
    const char *word;
    size_t word_length;
    const char *fields; /**< ` name=value` as received, any number of them */
    size_t fields_length;
} rig_line_t;

/** One field as received: the value still has its percent escapes. */
typedef struct {
    const char *name;
    size_t name_length;
    const char *value;
    size_t value_length;
} rig_field_t;

/**
 * @brief Read the line of the contract that ends this console line; text before its last `@rig ` is ignored
 *
 * @param raw one console line, with or without CR and LF at its end
 * @param[out] line only set for RIG_LINE_GOOD
 */
rig_line_verdict_t rig_line_parse(const char *raw, size_t size, rig_line_t *line);

/** @brief Whether the word is `text` */
bool rig_line_is(const rig_line_t *line, const char *text);

/** @brief Whether this is host to device: it has an id and its word is none of an answer's or progress' words */
bool rig_line_is_request(const rig_line_t *line);

/**
 * @brief Walk through the fields
 *
 * @param[in,out] position 0 for the first call
 * @return false when there are no more
 */
bool rig_line_next_field(const rig_line_t *line, size_t *position, rig_field_t *field);

/** @brief Find a field by name */
bool rig_line_find(const rig_line_t *line, const char *name, rig_field_t *field);

/**
 * @brief Decode a value
 *
 * @param[out] out the bytes; no NUL is added, and the value may contain one
 * @param size room in `out`; RIG_LINE_MAX always suffices
 * @return bytes decoded, or SIZE_MAX if `out` is too small
 */
size_t rig_field_decode(const rig_field_t *field, char *out, size_t size);
