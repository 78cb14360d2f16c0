package org.apache.storm.container.oci;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.json.JsonWriteFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.lang.reflect.Array;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.Collection;
import java.util.Map;

/** The documents that cross the border to native code. */
final class Json {
    /** Deeper than any configuration; a structure that contains itself ends here. */
    private static final int MAX_DEPTH = 64;

    // Non-ASCII is escaped so that no string is changed by the JVM's own encoding of native strings.
    private static final ObjectMapper MAPPER = JsonMapper.builder()
        .enable(JsonWriteFeature.ESCAPE_NON_ASCII)
        .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
        .defaultPropertyInclusion(
            JsonInclude.Value.construct(JsonInclude.Include.NON_NULL, JsonInclude.Include.ALWAYS))
        .build();

    private Json() {
    }

    static ObjectNode object() {
        return JsonNodeFactory.instance.objectNode();
    }

    /**
     * Turns a value as Storm's configuration holds it into JSON.
     *
     * <p>Nothing is refused: numbers keep their value, other types become their text, for the reader is the one who
     * knows which keys matter and names those that are wrong.
     */
    static JsonNode value(Object value) {
        return value(value, 0);
    }

    private static JsonNode value(Object value, int depth) {
        JsonNodeFactory nodes = JsonNodeFactory.instance;
        if (value == null) {
            return nodes.nullNode();
        } else if (value instanceof JsonNode) {
            return (JsonNode) value;
        } else if (value instanceof Boolean) {
            return nodes.booleanNode((Boolean) value);
        } else if (value instanceof Number) {
            return number((Number) value);
        } else if (depth >= MAX_DEPTH) {
            return nodes.textNode(value.getClass().getName());
        } else if (value instanceof Map) {
            ObjectNode object = nodes.objectNode();
            ((Map<?, ?>) value).forEach((key, entry) -> object.set(String.valueOf(key), value(entry, depth + 1)));
            return object;
        } else if (value instanceof Collection) {
            ArrayNode array = nodes.arrayNode();
            ((Collection<?>) value).forEach(entry -> array.add(value(entry, depth + 1)));
            return array;
        } else if (value.getClass().isArray()) {
            ArrayNode array = nodes.arrayNode();
            for (int i = 0; i < Array.getLength(value); i++) {
                array.add(value(Array.get(value, i), depth + 1));
            }
            return array;
        }
        return nodes.textNode(String.valueOf(value));
    }

    private static JsonNode number(Number number) {
        JsonNodeFactory nodes = JsonNodeFactory.instance;
        if (number instanceof BigInteger) {
            return nodes.numberNode((BigInteger) number);
        } else if (number instanceof BigDecimal) {
            return nodes.numberNode((BigDecimal) number);
        } else if (number instanceof Double || number instanceof Float) {
            double value = number.doubleValue();
            // JSON has no word for these.
            return Double.isFinite(value) ? nodes.numberNode(value) : nodes.textNode(number.toString());
        }
        return nodes.numberNode(number.longValue());
    }

    static String text(Object document) throws IOException {
        return MAPPER.writeValueAsString(document);
    }

    static JsonNode parse(String document) throws JsonProcessingException {
        return MAPPER.readTree(document);
    }

    static <T> T parse(String document, Class<T> type) throws JsonProcessingException {
        return MAPPER.readValue(document, type);
    }
}
