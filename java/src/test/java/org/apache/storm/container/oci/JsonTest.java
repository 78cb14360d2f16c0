package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

class JsonTest {
    @Test
    void everyValueHasItsJson() throws Exception {
        Map<Object, String> cases = new LinkedHashMap<>();
        cases.put("text", "\"text\"");
        cases.put(new StringBuilder("built"), "\"built\"");
        cases.put(true, "true");
        cases.put(7, "7");
        cases.put((byte) -1, "-1");
        cases.put(Long.MAX_VALUE, "9223372036854775807");
        cases.put(new AtomicLong(5), "5");
        cases.put(1.5f, "1.5");
        cases.put(2.5, "2.5");
        cases.put(Double.NaN, "\"NaN\"");
        cases.put(Double.NEGATIVE_INFINITY, "\"-Infinity\"");
        cases.put(new BigInteger("123456789012345678901234567890"), "123456789012345678901234567890");
        cases.put(new BigDecimal("1.10"), "1.10");
        cases.put(Arrays.asList(1, null, "a"), "[1,null,\"a\"]");
        cases.put(new LinkedHashSet<>(List.of("x")), "[\"x\"]");
        cases.put(new int[] {1, 2}, "[1,2]");
        cases.put(new Object[] {"a", List.of()}, "[\"a\",[]]");
        cases.put(Map.of(6700, Map.of("numa.cores", List.of(0))), "{\"6700\":{\"numa.cores\":[0]}}");
        cases.put(Thread.State.NEW, "\"NEW\"");
        // A path is a series of paths to Java, and text to people.
        cases.put(Paths.get("/a/b"), "\"/a/b\"");
        for (Map.Entry<Object, String> entry : cases.entrySet()) {
            assertEquals(entry.getValue(), Json.text(Json.value(entry.getKey())));
        }
        assertEquals("null", Json.text(Json.value(null)));
    }

    @Test
    void textIsAsciiOnTheWay() throws Exception {
        assertEquals("\"\\u00E9\\uD83D\\uDE00\\u0000\"", Json.text(Json.value("\u00e9\uD83D\uDE00\u0000")));
    }

    @Test
    void whatContainsItselfEnds() throws Exception {
        List<Object> list = new ArrayList<>();
        list.add(list);
        assertTrue(Json.text(Json.value(list)).contains("java.util.ArrayList"));
    }
}
