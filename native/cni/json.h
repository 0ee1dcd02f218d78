/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of JSON (RFC 8259) as a network configuration needs: is it well-formed, and where does the value of a key
 * stand. A value stays the text it was, so that prevResult is given back byte for byte.
 */
#ifndef SHUNT_CNI_JSON_H
#define SHUNT_CNI_JSON_H

#include "system.h"

/* A part of a text; at == NULL: there is none. */
struct slice {
	const char *at;
	size_t bytes;
};

/* Arrays and objects open at once; a result of CNI has four. */
#define MAX_DEPTH 64

struct cursor {
	const char *at, *end;
};

static bool same(struct slice a, const char *text)
{
	size_t bytes = strlen(text);

	if (a.at == NULL || a.bytes != bytes)
		return false;
	for (size_t i = 0; i < bytes; i++)
		if (a.at[i] != text[i])
			return false;
	return true;
}

static void skip_space(struct cursor *c)
{
	while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
		c->at++;
}

static bool take(struct cursor *c, char wanted)
{
	skip_space(c);
	if (c->at >= c->end || *c->at != wanted)
		return false;
	c->at++;
	return true;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The text between the quotes, escapes as they stand. */
static bool take_string(struct cursor *c, struct slice *out)
{
	if (!take(c, '"'))
		return false;
	out->at = c->at;
	for (; c->at < c->end; c->at++) {
		if ((unsigned char)*c->at < 0x20)
			return false;
		if (*c->at == '"') {
			out->bytes = c->at - out->at;
			c->at++;
			return true;
		}
		if (*c->at != '\\')
			continue;
		if (++c->at >= c->end)
			return false;
		if (*c->at == 'u') {
			if (c->end - c->at < 5)
				return false;
			for (int i = 1; i <= 4; i++)
				if (!is_hex(c->at[i]))
					return false;
			c->at += 4;
		} else {
			const char *known = "\"\\/bfnrt";

			while (*known && *known != *c->at)
				known++;
			if (!*known)
				return false;
		}
	}
	return false;
}

static bool take_digits(struct cursor *c)
{
	const char *from = c->at;

	while (c->at < c->end && is_digit(*c->at))
		c->at++;
	return c->at > from;
}

static bool take_number(struct cursor *c)
{
	if (c->at < c->end && *c->at == '-')
		c->at++;
	if (c->at < c->end && *c->at == '0')
		c->at++;
	else if (!take_digits(c))
		return false;
	if (c->at < c->end && *c->at == '.') {
		c->at++;
		if (!take_digits(c))
			return false;
	}
	if (c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
		c->at++;
		if (c->at < c->end && (*c->at == '+' || *c->at == '-'))
			c->at++;
		if (!take_digits(c))
			return false;
	}
	return true;
}

static bool take_word(struct cursor *c, const char *word)
{
	for (; *word; word++, c->at++)
		if (c->at >= c->end || *c->at != *word)
			return false;
	return true;
}

static bool take_value(struct cursor *c, struct slice *out, int depth);

static bool take_list(struct cursor *c, char close, int depth)
{
	struct slice ignored;

	c->at++;
	if (take(c, close))
		return true;
	do {
		if (close == '}' && (!take_string(c, &ignored) || !take(c, ':')))
			return false;
		if (!take_value(c, &ignored, depth - 1))
			return false;
	} while (take(c, ','));
	return take(c, close);
}

static bool take_value(struct cursor *c, struct slice *out, int depth)
{
	struct slice ignored;
	bool good;

	skip_space(c);
	if (c->at >= c->end || depth == 0)
		return false;
	out->at = c->at;
	switch (*c->at) {
	case '{':
		good = take_list(c, '}', depth);
		break;
	case '[':
		good = take_list(c, ']', depth);
		break;
	case '"':
		good = take_string(c, &ignored);
		break;
	case 't':
		good = take_word(c, "true");
		break;
	case 'f':
		good = take_word(c, "false");
		break;
	case 'n':
		good = take_word(c, "null");
		break;
	default:
		good = take_number(c);
	}
	out->bytes = c->at - out->at;
	return good;
}

/* True for one object and nothing else. */
static bool is_object(struct slice text)
{
	struct cursor c = { text.at, text.at + text.bytes };
	struct slice value;

	if (!take_value(&c, &value, MAX_DEPTH) || *value.at != '{')
		return false;
	skip_space(&c);
	return c.at == c.end;
}

/* The value of a key of a well-formed object; of a key that comes twice the last, as Go reads it. */
static struct slice member(struct slice object, const char *key)
{
	struct slice found = { NULL, 0 }, name, value;
	struct cursor c = { object.at, object.at + object.bytes };

	if (object.at == NULL || !take(&c, '{'))
		return found;
	while (take_string(&c, &name) && take(&c, ':') && take_value(&c, &value, MAX_DEPTH)) {
		if (same(name, key))
			found = value;
		if (!take(&c, ','))
			break;
	}
	return found;
}

/* What stands between the quotes of a string; none for another value, and for one with escapes. */
static struct slice plain_string(struct slice value)
{
	struct slice none = { NULL, 0 }, text = { value.at + 1, value.bytes - 2 };

	if (value.at == NULL || *value.at != '"')
		return none;
	for (size_t i = 0; i < text.bytes; i++)
		if (text.at[i] == '\\')
			return none;
	return text;
}

/* A whole number without sign; -1 for another value. */
static int64_t whole_number(struct slice value)
{
	int64_t number = 0;

	if (value.at == NULL || value.bytes == 0 || value.bytes > 9)
		return -1;
	for (size_t i = 0; i < value.bytes; i++) {
		if (!is_digit(value.at[i]))
			return -1;
		number = number * 10 + value.at[i] - '0';
	}
	return number;
}

/* True when the list of strings holds one that `fits`. */
static bool any_string(struct slice list, bool (*fits)(struct slice text, const void *what), const void *what)
{
	struct cursor c = { list.at, list.at + list.bytes };
	struct slice value;

	if (list.at == NULL || !take(&c, '['))
		return false;
	while (take_value(&c, &value, MAX_DEPTH)) {
		struct slice text = plain_string(value);

		if (text.at != NULL && fits(text, what))
			return true;
		if (!take(&c, ','))
			break;
	}
	return false;
}

#endif
