import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.Properties;

/** Reads properties from standard input as Java before 9 does, and prints key and value, each line in hexadecimal. */
public class ReadProperties {
    public static void main(String[] arguments) throws Exception {
        Properties found = new Properties();
        found.load(new ByteArrayInputStream(System.in.readAllBytes()));
        for (String key : found.stringPropertyNames()) {
            System.out.println(hexadecimal(key) + " " + hexadecimal(found.getProperty(key)));
        }
    }

    private static String hexadecimal(String text) {
        StringBuilder written = new StringBuilder("x");
        for (byte one : text.getBytes(StandardCharsets.UTF_8)) {
            written.append(String.format("%02x", one));
        }
        return written.toString();
    }
}
