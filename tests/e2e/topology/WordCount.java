/*
 * Licensed under the Apache License, Version 2.0: see LICENSE at the root of this repository.
 */
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.storm.generated.StormTopology;
import org.apache.storm.spout.SpoutOutputCollector;
import org.apache.storm.task.OutputCollector;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.TopologyBuilder;
import org.apache.storm.topology.base.BaseRichBolt;
import org.apache.storm.topology.base.BaseRichSpout;
import org.apache.storm.tuple.Fields;
import org.apache.storm.tuple.Tuple;
import org.apache.storm.tuple.Values;
import org.apache.storm.utils.Utils;

/**
 * Counts the words of a text, again and again, and writes what it has counted into the worker's
 * artifacts directory.
 *
 * <p>The text is the resource {@value #TEXT} of the topology's jar. A marker follows it through the
 * same stream each time it ends, so each report covers a whole number of readings: its counts are
 * exactly the text's, times {@code passes}.
 */
public final class WordCount {
    static final String TEXT = "/text.txt";
    /** Below the worker's directory, which is its working directory. */
    static final String REPORT = "artifacts/word-counts.json";
    private static final long PAUSE_MILLIS = 500;

    private WordCount() {
    }

    /** The topology: one spout, one splitter, one counter, so that order is kept. */
    static StormTopology topology() {
        TopologyBuilder builder = new TopologyBuilder();
        builder.setSpout("lines", new Lines());
        builder.setBolt("split", new Split()).globalGrouping("lines");
        builder.setBolt("count", new Count()).globalGrouping("split");
        return builder.createTopology();
    }

    /** Emits the text line by line, then {@code null} for its end. */
    public static final class Lines extends BaseRichSpout {
        private static final long serialVersionUID = 1L;
        private transient SpoutOutputCollector collector;
        private transient List<String> lines;
        private transient int next;

        @Override
        public void open(Map<String, Object> conf, TopologyContext context, SpoutOutputCollector out) {
            collector = out;
            try (InputStream in = WordCount.class.getResourceAsStream(TEXT);
                    BufferedReader reader = new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8))) {
                lines = reader.lines().collect(Collectors.toCollection(ArrayList::new));
            } catch (IOException e) {
                throw new UncheckedIOException("cannot read " + TEXT + " of the topology's jar", e);
            }
        }

        @Override
        public void nextTuple() {
            if (next < lines.size()) {
                collector.emit(new Values(lines.get(next++)));
            } else {
                collector.emit(new Values((Object) null));
                next = 0;
                Utils.sleep(PAUSE_MILLIS);
            }
        }

        @Override
        public void declareOutputFields(OutputFieldsDeclarer declarer) {
            declarer.declare(new Fields("line"));
        }
    }

    /** Emits each run of letters in lower case; passes the end on. */
    public static final class Split extends BaseRichBolt {
        private static final long serialVersionUID = 1L;
        private transient OutputCollector collector;

        @Override
        public void prepare(Map<String, Object> conf, TopologyContext context, OutputCollector out) {
            collector = out;
        }

        @Override
        public void execute(Tuple tuple) {
            String line = tuple.getString(0);
            if (line == null) {
                collector.emit(new Values((Object) null));
                return;
            }
            for (String word : line.toLowerCase(Locale.ROOT).split("[^a-z]+")) {
                if (!word.isEmpty()) {
                    collector.emit(new Values(word));
                }
            }
        }

        @Override
        public void declareOutputFields(OutputFieldsDeclarer declarer) {
            declarer.declare(new Fields("word"));
        }
    }

    /** Counts words, and writes the report at each end of the text. */
    public static final class Count extends BaseRichBolt {
        private static final long serialVersionUID = 1L;
        private transient Map<String, Long> counts;
        private transient long passes;
        private transient long words;

        @Override
        public void prepare(Map<String, Object> conf, TopologyContext context, OutputCollector out) {
            counts = new TreeMap<>();
        }

        @Override
        public void execute(Tuple tuple) {
            String word = tuple.getString(0);
            if (word != null) {
                counts.merge(word, 1L, Long::sum);
                words++;
                return;
            }
            passes++;
            try {
                report();
            } catch (IOException e) {
                throw new UncheckedIOException("cannot write " + REPORT, e);
            }
        }

        /** Words are letters only, so they need no escaping. A reader never sees half a report. */
        private void report() throws IOException {
            String entries = counts.entrySet().stream()
                .map(entry -> "\"" + entry.getKey() + "\":" + entry.getValue())
                .collect(Collectors.joining(","));
            String json = "{\"pid\":" + ProcessHandle.current().pid() + ",\"passes\":" + passes
                + ",\"words\":" + words + ",\"counts\":{" + entries + "}}";
            Path part = Path.of(REPORT + ".part");
            Files.writeString(part, json);
            Files.move(part, Path.of(REPORT), StandardCopyOption.ATOMIC_MOVE);
        }

        @Override
        public void declareOutputFields(OutputFieldsDeclarer declarer) {
            // The report is the output.
        }
    }
}
