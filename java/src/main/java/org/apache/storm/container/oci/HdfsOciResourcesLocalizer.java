package org.apache.storm.container.oci;

import java.io.IOException;
import java.util.Map;

/** Brings an image's files to this host through the native library, for Storm's own container manager as for ours. */
public class HdfsOciResourcesLocalizer implements OciResourcesLocalizerInterface {
    private NativeImages images;

    @Override
    public void init(Map<String, Object> conf) throws IOException {
        images = NativeImages.open(conf);
    }

    @Override
    public String localize(OciResource ociResource) throws IOException {
        return ociResource == null ? null : images.localize(ociResource);
    }
}
